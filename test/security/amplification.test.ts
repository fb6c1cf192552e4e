/**
 * Nobody makes a node or a service send much to where nobody asked for it (protocol section 2.3): to an address that has
 * proven nothing goes at most three times what came from there, or from the peer that named it.
 */

import { beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/lib/ip.ts';
import { type MessageName, messageTable } from '../../src/proto/messages.ts';
import { type Candidate, MAX_CANDIDATES } from '../../src/proto/options.ts';
import { Lab } from '../core/node/lab.ts';
import type { Host } from '../sim/network.ts';
import type { SimNode } from '../sim/node.ts';

/** What the beginning of a connection may cost, and what comes on top in a second, in octets of UDP payload. */
const BURST = 24_000;
const PER_SECOND = 2_000;

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.open();
});

describe('a datagram sent on under another address', () => {
  const overUdp = (Object.keys(messageTable) as MessageName[]).filter((name) => !name.startsWith('login'));

  /** All kinds of messages get sent: names, paths, a relay, a move, an end. */
  async function live(): Promise<void> {
    const a = await lab.node('a', lab.publicly());
    const b = await lab.node('b', lab.home('symmetric')('192.168.1.2'));
    const c = await lab.node('c', lab.home('portRestricted')('192.168.2.2'));
    for (const [from, to] of [
      [a, b],
      [b, c],
    ] as const) {
      lab.send(from, to);
      lab.pass(1_000);
      lab.send(to, from);
      lab.pass(10_000);
    }
    a.move(lab.publicly());
    lab.pass(30_000);
    lab.send(b, a);
    lab.pass(5_000);
    a.stop();
    lab.pass(5_000);
  }

  it.each(overUdp.flatMap((type) => [[type, true] as const, [type, false] as const]))(
    '%s brings at most three times its octets there (original lost: %s)',
    async (type, lose) => {
      let [spent, got] = [0, 0];
      const mallory: Host = {
        name: 'mallory',
        port: 666,
        ...lab.publicly(),
        receive: (datagram) => void (got += datagram.length),
      };
      lab.network.attach(mallory);
      lab.tamper = ({ host, type: sent, to, datagram }) => {
        if (host === mallory || sent !== type) return 'pass';
        spent += datagram.length;
        lab.network.send(mallory, to, datagram);
        return lose ? 'lose' : 'pass';
      };
      await live();
      if (!lose) expect(spent).toBeGreaterThan(0);
      expect(got).toBeLessThanOrEqual(3 * spent);
    },
  );
});

describe('a peer that names addresses of others', () => {
  let a: SimNode;
  let m: SimNode;
  let names = 0;

  beforeEach(async () => {
    a = await lab.node('a', lab.publicly());
    m = await lab.node('m', lab.publicly());
  });

  const victims = (): Candidate[] =>
    Array.from({ length: MAX_CANDIDATES }, (): Candidate => {
      const n = names++;
      return { address: `198.18.${(n >> 8) & 255}.${n & 255}`, port: 53, kind: 'host' };
    });
  const octets = (from: SimNode, isThere: (to: Endpoint) => boolean, since = 0): number =>
    lab.sent
      .slice(since)
      .filter(({ host, to }) => host === from.host && isThere(to))
      .reduce((sum, { datagram }) => sum + datagram.length, 0);
  const atVictims = ({ address }: Endpoint): boolean => address.startsWith('198.18.');
  const atA = ({ address }: Endpoint): boolean => address === a.host.address4;

  function expectLittle(seconds: number): void {
    const sent = octets(a, atVictims);
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThanOrEqual(BURST + 3 * octets(m, atA));
    expect(sent).toBeLessThanOrEqual(BURST + seconds * PER_SECOND);
  }

  it('anew every second has them probed no more than it says itself', () => {
    expect(lab.reaches(m, a)).toBe(true);
    for (let second = 0; second < 120; second++) {
      m.claim(victims());
      lab.pass(1_000);
    }
    expectLittle(120);
    expect(a.counters.snapshot()['probes-withheld']).toBeGreaterThan(0);
    // It still is a peer like any other.
    expect(lab.reaches(a, m)).toBe(true);
  });

  it('and takes them back is not probed there any more', () => {
    expect(lab.reaches(m, a)).toBe(true);
    m.claim(victims());
    lab.pass(1_000);
    expect(octets(a, atVictims)).toBeGreaterThan(0);
    m.claim([{ address: m.host.address4!, port: m.host.port, kind: 'host' }]);
    lab.pass(200);
    const since = lab.sent.length;
    lab.pass(10_000);
    expect(octets(a, atVictims, since)).toBe(0);
  });

  it.each([
    ['it opens', (): void => void lab.send(m, a)],
    ['the node opens', (): void => void lab.send(a, m)],
  ])('on path after path that %s has them probed no more than that costs it', (_who, open) => {
    for (let life = 0; life < 40; life++) {
      m.kill();
      m.start();
      m.claim(victims());
      lab.pass(300);
      open();
      lab.pass(2_700);
    }
    expectLittle(120);
  });

  it('leaves another one’s beginning as quick as it was', async () => {
    expect(lab.reaches(m, a)).toBe(true);
    for (let second = 0; second < 60; second++) {
      m.claim(victims());
      lab.pass(1_000);
    }
    const c = await lab.node('c', lab.home('portRestricted')('192.168.1.2'));
    expect(lab.reaches(c, a)).toBe(true);
    expect(lab.until(() => lab.peer(a, c)?.path === 'direct', 2_000)).toBe(true);
  });
});
