import { describe, expect, it } from 'vitest';
import { type DirectedPath, PathTable } from '../../../src/core/nms/paths.ts';

const answer = { type: 'ack', id: '0'.repeat(32), transactionId: 1, body: {} } as const;
const at = (ms: number) => ({ ms, wall: ms });

function path(pathId: string, more: Partial<DirectedPath> = {}): DirectedPath {
  return { pathId, initiator: 'a', responder: 'b', relay: 'r', answer, until: 1_000, ...more };
}

describe('the table of paths', () => {
  it('finds paths by PathID, by either end, and counts them by relay', () => {
    const table = new PathTable();
    table.add(path('1'));
    table.add(path('2', { responder: 'c', relay: null }));
    expect(table.get('1')?.responder).toBe('b');
    expect(table.of('a').map((p) => p.pathId)).toEqual(['1', '2']);
    expect(table.of('c').map((p) => p.pathId)).toEqual(['2']);
    expect(table.relayedBy('r')).toBe(1);
    table.remove('1');
    expect(table.of('b')).toEqual([]);
    expect(table.relayedBy('r')).toBe(0);
    expect(table.size).toBe(1);
  });

  it('forgets a path when its keys expire', () => {
    const table = new PathTable();
    table.add(path('1'));
    table.add(path('2', { until: 2_000 }));
    table.expire(at(999));
    expect(table.size).toBe(2);
    table.expire(at(1_000));
    expect(table.get('1')).toBeUndefined();
    expect(table.get('2')).toBeDefined();
  });

  it('lets no node displace the paths of another', () => {
    const table = new PathTable();
    table.add(path('other', { initiator: 'x', responder: 'y' }));
    for (let i = 0; i < 3_000; i++) table.add(path(String(i), { responder: 'y' }));
    expect(table.of('a')).toHaveLength(1_024);
    expect(table.get('2999')).toBeDefined();
    expect(table.get('0')).toBeUndefined();
    expect(table.get('other')).toBeDefined();
  });
});
