import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Lab } from './lab.ts';

/** One behind a symmetric NAT, one whose port-restricted router may forward a port: they cannot punch. */
async function opened() {
  const lab = await Lab.open();
  const { nat, socket } = lab.router('portRestricted');
  const a = await lab.node('a', lab.home('symmetric')('10.1.0.2'));
  const b = await lab.node('b', socket('10.2.0.2'));
  const external: Endpoint = { address: nat.outside, port: 40_000 };
  const forward = (): void => void nat.forwarded.set(external.port, { address: '10.2.0.2', port: b.host.port });
  const path = (): string | null => lab.peer(a, b)?.path ?? null;
  return { lab, a, b, external, forward, path };
}

describe('a port that the router forwards', () => {
  it('is offered to peers, which come in by it', async () => {
    const { lab, a, b, external, forward, path } = await opened();
    forward();
    b.forwarded(external);
    lab.pass(500);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.until(() => path() === 'direct', 5_000)).toBe(true);
    expect(lab.peer(a, b)!.endpoint).toBe(`${external.address}:${external.port}`);
  });

  it('is told to peers that are there already', async () => {
    const { lab, a, b, external, forward, path } = await opened();
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(20_000);
    expect(path()).toBe('relay');
    forward();
    b.forwarded(external);
    expect(lab.until(() => path() === 'direct', 5_000)).toBe(true);
  });

  it.each([
    ['somebody else', '203.0.113.200'],
    ['the overlay', '100.80.0.9'],
    ['multicast', '224.0.0.1'],
    ['loopback', '127.0.0.1'],
    ['a private network', '192.168.1.1'],
  ])('is not offered at an address of %s, whatever the router says', async (_, address) => {
    const { lab, a, b, path } = await opened();
    b.forwarded({ address, port: 40_000 });
    lab.pass(500);
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(20_000);
    expect(path()).toBe('relay');
    expect(lab.sent.filter(({ to }) => to.address === address)).toEqual([]);
  });

  it('is withdrawn when we are seen elsewhere', async () => {
    const { lab, a, b, external, forward } = await opened();
    forward();
    b.forwarded(external);
    lab.pass(500);
    b.forwarded(null);
    lab.pass(500);
    const before = lab.sent.length;
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(20_000);
    expect(lab.sent.slice(before).filter(({ to }) => to.port === external.port)).toEqual([]);
  });
});
