import { describe, expect, it } from 'vitest';
import { Port } from '../../../src/proto/constants.ts';
import type { RelayTime } from '../../../src/proto/options.ts';
import type { SimNode } from '../../sim/node.ts';
import { Lab } from './lab.ts';

const times = (near: number | null, far: number | null): RelayTime[] => [
  { address: '192.0.2.11', port: Port.trs, rttMs: near },
  { address: '192.0.2.12', port: Port.trs, rttMs: far },
];

const registrations = (lab: Lab, node: SimNode): number => lab.count(node, 'registrationRequest');

describe('round trips to relays', () => {
  it('are told to the NMS when they change by much, and lead the pair to the nearest', async () => {
    const lab = await Lab.open(2);
    const [a, b] = [
      await lab.node('a', lab.home('symmetric')('10.0.0.2')),
      await lab.node('b', lab.home('symmetric')('10.0.0.2')),
    ];
    for (const node of [a, b]) node.relayTimes(times(100, 20));
    lab.pass(1_000);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.peer(a, b)).toMatchObject({ path: 'relay', endpoint: `192.0.2.12:${Port.trs}` });

    const before = registrations(lab, a);
    a.relayTimes(times(105, 24));
    lab.pass(1_000);
    expect(registrations(lab, a)).toBe(before);
    a.relayTimes(times(105, null));
    lab.pass(1_000);
    expect(registrations(lab, a)).toBe(before + 1);
  });

  it('are said again by whoever registers again', async () => {
    const lab = await Lab.open(2);
    const [a, b] = [
      await lab.node('a', lab.home('symmetric')('10.0.0.2')),
      await lab.node('b', lab.home('symmetric')('10.0.0.2')),
    ];
    for (const node of [a, b]) node.relayTimes(times(20, 100));
    lab.pass(1_000);
    lab.cloud.nms.kill();
    lab.cloud.nms.start();
    lab.pass(60_000);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.peer(a, b)).toMatchObject({ path: 'relay', endpoint: `192.0.2.11:${Port.trs}` });
  });
});
