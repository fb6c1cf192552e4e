import { describe, expect, it } from 'vitest';
import { parseEndpoint } from '../../../src/lib/ip.ts';
import { Suite } from '../../../src/proto/constants.ts';
import type { NatType } from '../../sim/nat.ts';
import type { SimNode, Socket } from '../../sim/node.ts';
import { Lab } from './lab.ts';

type Pair = { readonly lab: Lab; readonly a: SimNode; readonly b: SimNode };

async function pair(sockets: (lab: Lab) => [Socket, Socket], relays = 1): Promise<Pair> {
  const lab = await Lab.open(relays);
  const [ofA, ofB] = sockets(lab);
  return { lab, a: await lab.node('a', ofA), b: await lab.node('b', ofB) };
}

const both =
  (type: NatType) =>
  (lab: Lab): [Socket, Socket] => [lab.home(type)('10.0.0.2'), lab.home(type)('10.0.0.2')];

/** A path exists in both directions, and no key was ever used twice with one number. */
function expectPath({ lab, a, b }: Pair, path: string): void {
  expect(lab.reaches(a, b)).toBe(true);
  lab.pass(2_000);
  expect(lab.reaches(b, a)).toBe(true);
  for (const [at, of] of [
    [a, b],
    [b, a],
  ] as const) {
    expect(lab.peer(at, of)).toMatchObject({ state: 'up', path, epoch: 1 });
    expect(at.sizes).toMatchObject({ paths: 1, keys: 1 });
  }
  expect(lab.world.reused).toEqual([]);
}

describe('a path', () => {
  it('is direct between two public nodes, in either family', async () => {
    expectPath(await pair((lab) => [lab.publicly(), lab.publicly()]), 'direct');
    expectPath(await pair((lab) => [lab.publicly('6'), lab.publicly('6')]), 'direct');
  });

  it('is kept by one question for both ends while nothing happens', async () => {
    const { lab, a, b } = await pair(both('portRestricted'));
    expectPath({ lab, a, b }, 'direct');
    lab.pass(60_000);
    const ends = [
      [a, b],
      [b, a],
    ] as const;
    const asked = (): number =>
      ends.reduce((sum, [from, to]) => sum + lab.count(from, 'keepAlive', parseEndpoint(to.snapshot!.mapped[0]!)!), 0);
    const before = asked();
    lab.pass(500_000);
    expect(asked() - before).toBeGreaterThanOrEqual(500 / 27.5 - 1);
    expect(asked() - before).toBeLessThanOrEqual(500 / 22.5 + 1);
    // The NATs between them forgot nothing.
    expect(lab.reaches(b, a, 100)).toBe(true);
    expect(lab.peer(b, a)).toMatchObject({ state: 'up', path: 'direct' });
  });

  it('is compared with other ways once a minute while it is used, also after a rest, and not while it rests', async () => {
    const { lab, a, b } = await pair(both('portRestricted'));
    lab.pass(60_000);
    const probes = (): number => lab.count(a, 'holePunching');
    const use = (seconds: number): void => {
      for (let i = 0; i < seconds; i++) {
        expect(lab.reaches(a, b, 1_000)).toBe(true);
        lab.pass(900);
      }
    };
    const before = probes();
    lab.pass(300_000);
    expect(probes()).toBe(before);
    use(5);
    const once = probes() - before;
    expect(once).toBeGreaterThan(0);
    use(50);
    expect(probes() - before).toBe(once);
    use(15);
    expect(probes() - before).toBeGreaterThan(once);
  });

  it('is direct from and to a node behind a NAT', async () => {
    expectPath(await pair((lab) => [lab.home('symmetric')('10.0.0.2'), lab.publicly()]), 'direct');
    expectPath(await pair((lab) => [lab.publicly(), lab.home('symmetric')('10.0.0.2')]), 'direct');
  });

  it('goes where the peer is seen, which nobody told of', async () => {
    const net = await pair((lab) => [lab.publicly(), lab.home('symmetric')('10.0.0.2')]);
    expectPath(net, 'direct');
    const { endpoint } = net.lab.peer(net.a, net.b)!;
    const { mapped, real } = net.b.snapshot!;
    expect(mapped).toHaveLength(1);
    expect([...mapped, ...real]).not.toContain(endpoint);
    expect(parseEndpoint(endpoint!)!.address).toBe(parseEndpoint(mapped[0]!)!.address);
  });

  it.each(['fullCone', 'addressRestricted', 'portRestricted'] as const)(
    'between two %s NATs starts at once and ends up direct',
    async (type) => {
      const net = await pair(both(type));
      expectPath(net, 'direct');
      expect(net.lab.peer(net.a, net.b)!.endpoint).toMatch(/^203\.0\.113\./);
    },
  );

  it('stays with the relay between two symmetric NATs', async () => {
    const net = await pair(both('symmetric'));
    expectPath(net, 'relay');
    expect(net.lab.peer(net.a, net.b)!.endpoint).toBe('192.0.2.11:7442');
  });

  it('stays inside the LAN behind one NAT', async () => {
    const net = await pair((lab) => {
      const home = lab.home('portRestricted');
      return [home('10.0.0.2'), home('10.0.0.3')];
    });
    expectPath(net, 'lan');
    expect(net.lab.peer(net.a, net.b)!.endpoint).toBe('10.0.0.3:7444');
  });

  it('goes through the relay where the families differ', async () => {
    expectPath(await pair((lab) => [lab.publicly('4'), lab.publicly('6')]), 'relay');
    expectPath(await pair((lab) => [lab.publicly('6'), lab.publicly('4')]), 'relay');
  });

  it('needs no relay between two cones', async () => {
    expectPath(await pair(both('portRestricted'), 0), 'direct');
  });

  it('does not exist without a relay between two symmetric NATs', async () => {
    const { lab, a, b } = await pair(both('symmetric'), 0);
    expect(lab.reaches(a, b, 30_000)).toBe(false);
    expect(a.sizes).toMatchObject({ paths: 0, keys: 0, routes: 0 });
    expect(a.counters.get('drop-no-route')).toBe(1);
    lab.pass(30_000);
    expect(b.sizes).toMatchObject({ paths: 0, keys: 0, routes: 0 });
  });

  it('falls back to the relay where the direct way is blocked from the start', async () => {
    const net = await pair((lab) => [lab.publicly(), lab.publicly()]);
    const { lab } = net;
    lab.tamper = ({ host, to }) =>
      lab.nodes.some((n) => n.host === host) && to.address.startsWith('198.51.100.') ? 'lose' : 'pass';
    expectPath(net, 'relay');
  });
});

describe('the suite of a path', () => {
  const { aes256Gcm, chacha20Poly1305, cbcMd5 } = Suite;
  it.each([
    [aes256Gcm, aes256Gcm, 'aes-256-gcm'],
    [aes256Gcm, chacha20Poly1305, 'chacha20-poly1305'],
    [chacha20Poly1305, aes256Gcm, 'chacha20-poly1305'],
    [chacha20Poly1305, chacha20Poly1305, 'chacha20-poly1305'],
    [cbcMd5, cbcMd5, 'cbc-md5'],
  ])('of %i with %i is %s', async (ofA, ofB, suite) => {
    const lab = await Lab.open();
    const a = await lab.node('a', lab.publicly(), ofA);
    const b = await lab.node('b', lab.publicly(), ofB);
    expectPath({ lab, a, b }, 'direct');
    expect(lab.peer(a, b)!.suite).toBe(suite);
    expect(lab.peer(b, a)!.suite).toBe(suite);
  });

  it.each([aes256Gcm, chacha20Poly1305])('does not exist between cbc-md5 and %i', async (other) => {
    const lab = await Lab.open();
    const a = await lab.node('a', lab.publicly(), cbcMd5);
    const b = await lab.node('b', lab.publicly(), other);
    expect(lab.reaches(a, b, 15_000)).toBe(false);
    expect(lab.reaches(b, a, 15_000)).toBe(false);
    expect(a.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(b.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
  });
});

describe('two ends that ask at once', () => {
  it('settle on one path and close the other', async () => {
    const { lab, a, b } = await pair((l) => [l.publicly(), l.publicly()]);
    const [there, back] = [lab.send(a, b), lab.send(b, a)];
    expect(lab.until(() => lab.has(b, there) && lab.has(a, back), 2_000)).toBe(true);
    lab.pass(1_000);
    expect(a.pathsTo(b)).toHaveLength(2);
    for (let i = 0; i < 40; i++) {
      expect(lab.reaches(a, b)).toBe(true);
      expect(lab.reaches(b, a)).toBe(true);
      lab.pass(1_000);
    }
    expect(a.pathsTo(b)).toHaveLength(1);
    expect(b.pathsTo(a)).toEqual(a.pathsTo(b));
    expect(lab.world.reused).toEqual([]);
  });
});
