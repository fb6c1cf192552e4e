import { describe, expect, it } from 'vitest';
import { Port } from '../../../src/proto/constants.ts';
import type { Socket } from '../../sim/node.ts';
import { makePacket } from '../../sim/packet.ts';
import { Lab } from './lab.ts';
import { outage, pair, publicly, symmetric } from './pairs.ts';

describe('a direct way that dies', () => {
  it('is replaced by the relay within seconds, and used again later', async () => {
    const { lab, a, b } = await pair(publicly);
    const nodes = [a.host, b.host];
    lab.tamper = ({ host, to }) => (nodes.includes(host) && to.address.startsWith('198.51.100.') ? 'lose' : 'pass');
    // By both after a second, by the relay alone after two.
    expect(outage(lab, a, b)).toBeLessThan(1_500);
    expect(lab.peer(a, b)!.path).toBe('direct');
    for (let i = 0; i < 15; i++) expect(lab.reaches(a, b, 100)).toBe(true);
    expect(lab.until(() => lab.peer(a, b)!.path === 'relay', 1_500)).toBe(true);
    lab.pass(5_000);
    lab.tamper = () => 'pass';
    for (let i = 0; i < 130 && lab.peer(a, b)!.path === 'relay'; i++) {
      expect(lab.reaches(a, b)).toBe(true);
      lab.pass(1_000);
    }
    expect(lab.peer(a, b)!.path).toBe('direct');
  });

  it('has the relay beside it at once if nothing has proven it for a while', async () => {
    const { lab, a, b } = await pair(publicly);
    // Between the last heartbeat and the next Keep Alive, which is 25 s later.
    lab.pass(20_000);
    const nodes = [a.host, b.host];
    lab.tamper = ({ host, to }) => (nodes.includes(host) && to.address.startsWith('198.51.100.') ? 'lose' : 'pass');
    expect(outage(lab, a, b)).toBeLessThan(800);
    expect(lab.peer(a, b)!.path).toBe('direct');
  });

  it('is replaced soon for an end that only listens to a stream', async () => {
    const { lab, a, b } = await pair(publicly);
    for (let i = 0; i < 40; i++) {
      lab.send(a, b);
      lab.pass(50);
    }
    const nodes = [a.host, b.host];
    lab.tamper = ({ host, to }) => (nodes.includes(host) && to.address.startsWith('198.51.100.') ? 'lose' : 'pass');
    const start = lab.clock.ms;
    let arrived = false;
    while (!arrived && lab.clock.ms - start < 10_000) {
      const number = lab.send(a, b);
      lab.pass(50);
      arrived = lab.has(b, number);
    }
    expect(lab.clock.ms - start).toBeLessThan(2_000);
  });

  it('is replaced although only one end sends', async () => {
    const { lab, a, b } = await pair(publicly);
    const nodes = [a.host, b.host];
    lab.tamper = ({ host, to }) => (nodes.includes(host) && to.address.startsWith('198.51.100.') ? 'lose' : 'pass');
    let arrived = false;
    for (let i = 0; i < 120 && !arrived; i++) {
      const number = lab.send(a, b);
      lab.pass(50);
      arrived = lab.has(b, number);
    }
    expect(arrived).toBe(true);
  });

  it.each(['direct', 'relay'] as const)('is found anew at once where a NAT has lost its mappings: %s', async (path) => {
    const type = path === 'relay' ? 'symmetric' : 'portRestricted';
    const home = (net: Lab): Socket => net.home(type)('10.0.0.2');
    const { lab, a, b } = await pair((net) => [home(net), home(net)]);
    lab.pass(3_000);
    expect(lab.peer(a, b)!.path).toBe(path);
    for (const address of ['203.0.113.98', '203.0.113.99']) {
      a.host.segment.router!.reboot(address);
      expect(outage(lab, a, b)).toBeLessThan(1_000);
      lab.pass(4_000);
      expect(lab.peer(a, b)!.path).toBe(path);
    }
  });

  it('that one end alone sends on costs the NMS nothing', async () => {
    const home = (net: Lab): Socket => net.home('portRestricted')('10.0.0.2');
    const { lab, a, b } = await pair((net) => [home(net), home(net)]);
    lab.pass(3_000);
    const nms = { address: lab.cloud.nms.host.address4!, port: Port.nms };
    const before = lab.count(a, 'keepAlive', nms);
    for (let i = 0; i < 100; i++) {
      lab.send(a, b);
      lab.pass(200);
    }
    expect(lab.count(a, 'keepAlive', nms) - before).toBeLessThanOrEqual(1);
  });

  it('is left by an end that only answers as soon as the other end has left it', async () => {
    const homes = (net: Lab): [Socket, Socket] => [
      net.home('portRestricted')('10.0.0.2'),
      net.home('portRestricted')('10.0.0.2'),
    ];
    const { lab, a, b } = await pair(homes);
    lab.pass(3_000);
    expect(lab.peer(b, a)!.path).toBe('direct');
    // Nobody tells it of that.
    lab.tamper = ({ host, to }) => (host === a.host && to.port === Port.nms ? 'lose' : 'pass');
    a.host.segment.router!.reboot('203.0.113.99');
    const start = lab.clock.ms;
    for (let answered = false; !answered && lab.clock.ms - start < 60_000; lab.pass(1_200)) {
      answered = lab.reaches(a, b, 200) && lab.reaches(b, a, 200);
    }
    expect(lab.clock.ms - start).toBeLessThan(10_000);
    expect(lab.peer(b, a)!.path).toBe('relay');
  });

  it('is not given up because the peer has nothing to say', async () => {
    const { lab, a, b } = await pair(publicly);
    for (let i = 0; i < 100; i++) {
      lab.send(a, b);
      lab.pass(200);
    }
    expect(lab.notes.filter((note) => note.includes('silent'))).toEqual([]);
    expect(lab.peer(a, b)!.path).toBe('direct');
  });
});

describe('a relay that dies', () => {
  it('is replaced by another one', async () => {
    const { lab, a, b } = await pair(symmetric, 2);
    const used = lab.peer(a, b)!.endpoint!;
    const relay = lab.cloud.relays.find(({ host }) => used.startsWith(`${host.address4}:`))!;
    relay.kill();
    expect(outage(lab, a, b)).toBeLessThan(3_000);
    expect(lab.peer(a, b)!.endpoint).not.toBe(used);
  });

  // The last ones: just when the one not in use asks for its last sign of life, in no hurry.
  it.each([8_000, 10_000, 10_800, 11_000])(
    'is replaced soon where both ends had asked for a path, and so have two through it: after %i ms',
    async (ms) => {
      const lab = await Lab.open(2);
      const [ofA, ofB] = symmetric(lab);
      const [a, b] = [await lab.node('a', ofA), await lab.node('b', ofB)];
      lab.send(a, b);
      expect(lab.reaches(b, a)).toBe(true);
      expect(a.pathsTo(b)).toHaveLength(2);
      for (let passed = 0; passed < ms; passed += 100) {
        lab.send(a, b);
        lab.send(b, a);
        lab.pass(100);
      }
      const used = lab.peer(a, b)!.endpoint!;
      lab.cloud.relays.find(({ host }) => used.startsWith(`${host.address4}:`))!.kill();
      expect(outage(lab, a, b)).toBeLessThan(2_000);
    },
  );

  it('while nothing is sent is replaced as soon as something is', async () => {
    const { lab, a, b } = await pair(symmetric, 2);
    lab.pass(15_000);
    const used = lab.peer(a, b)!.endpoint!;
    lab.cloud.relays.find(({ host }) => used.startsWith(`${host.address4}:`))!.kill();
    const asked = lab.count(a, 'keepAlive');
    expect(lab.until(() => lab.count(a, 'keepAlive') > asked + 1, 40_000)).toBe(true);
    expect(outage(lab, a, b)).toBeLessThan(3_000);
  });

  it('and comes back without its memory is asked again', async () => {
    const { lab, a, b } = await pair(symmetric, 1);
    lab.cloud.relays[0]!.kill();
    lab.pass(200);
    lab.cloud.relays[0]!.start();
    expect(outage(lab, a, b)).toBeLessThan(3_000);
  });
});

describe('a direct path whose relay has forgotten it', () => {
  it('is replaced by one that the NMS makes, soon after it died', async () => {
    const { lab, a, b } = await pair((l) => [
      l.home('portRestricted')('10.0.0.2'),
      l.home('portRestricted')('10.0.0.3'),
    ]);
    expect(lab.until(() => lab.peer(a, b)?.path === 'direct' && lab.peer(b, a)?.path === 'direct', 5_000)).toBe(true);
    lab.pass(150_000);
    lab.cloud.relays[0]!.kill();
    lab.cloud.relays[0]!.start();
    lab.pass(5_000);
    lab.tamper = ({ host, to }) =>
      [a.host, b.host].includes(host) && to.address.startsWith('203.0.113.') ? 'lose' : 'pass';
    expect(outage(lab, a, b)).toBeLessThan(3_000);
    expect(lab.peer(a, b)!.path).toBe('relay');
  });
});

describe('a peer that starts anew', () => {
  it('is reached again soon, by both', async () => {
    const { lab, a, b } = await pair(publicly);
    b.kill();
    lab.pass(500);
    b.start();
    expect(outage(lab, a, b)).toBeLessThan(3_000);
    // Both asked for a path; the spare one goes after a while.
    for (let i = 0; i < 40; i++) {
      expect(lab.reaches(a, b)).toBe(true);
      lab.pass(1_000);
    }
    expect(a.pathsTo(b)).toHaveLength(1);
  });

  it.each(Array.from({ length: 12 }, (_, i) => i))(
    'and nobody has more to say: one path is left, the same at both ends (%i)',
    async (seed) => {
      const lab = await Lab.open(1, seed);
      const [a, b] = [await lab.node('a', lab.publicly()), await lab.node('b', lab.publicly())];
      expect(lab.reaches(a, b)).toBe(true);
      lab.pass(2_000);
      b.kill();
      lab.pass(500);
      b.start();
      expect(outage(lab, a, b)).toBeLessThan(3_000);
      lab.pass(150_000);
      expect(a.pathsTo(b)).toHaveLength(1);
      expect(b.pathsTo(a)).toEqual(a.pathsTo(b));
    },
  );

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'is answered on its new path within a second or so, whatever the order of the PathIDs: %i',
    async (seed) => {
      const lab = await Lab.open(1, seed);
      const [a, b] = [await lab.node('a', lab.publicly()), await lab.node('b', lab.publicly())];
      // Only its old path is quiet about its end: nothing says so.
      expect(lab.reaches(a, b)).toBe(true);
      lab.tamper = ({ type }) => (type === 'notice' ? 'lose' : 'pass');
      b.kill();
      b.start();
      expect(lab.until(() => b.snapshot?.state === 'online', 3_000)).toBe(true);
      expect(lab.reaches(b, a)).toBe(true);
      expect(outage(lab, a, b)).toBeLessThan(1_100);
    },
  );

  it('is not disturbed in its new path by the news of its end', async () => {
    const { lab, a, b } = await pair(publicly);
    b.kill();
    b.start();
    lab.tamper = ({ type }) => (type === 'notice' ? 'lose' : 'pass');
    lab.pass(20);
    expect(outage(lab, a, b)).toBeLessThan(3_000);
    lab.tamper = () => 'pass';
    for (let i = 0; i < 100; i++) {
      expect(lab.reaches(a, b, 100)).toBe(true);
      lab.pass(100);
    }
  });

  it('says goodbye when it stops in order', async () => {
    const { lab, a, b } = await pair(publicly);
    b.stop();
    lab.pass(100);
    expect(a.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(lab.reaches(a, b, 5_000)).toBe(false);
    b.start();
    lab.pass(3_000);
    expect(lab.reaches(a, b)).toBe(true);
  });
});

describe('the size of a path', () => {
  const inner = 52;
  const outer = 1_280 - 28;

  it('is found for a direct way and a relayed one, and again when it shrinks', async () => {
    for (const sockets of [publicly, symmetric]) {
      const { lab, a, b } = await pair(sockets);
      expect(lab.peer(a, b)!.mtu).toBe(1_400);
      let carries = 1_333;
      lab.tamper = ({ datagram }) => (datagram.length > carries ? 'lose' : 'pass');
      const big = (): void => a.send(makePacket(a.device.vip4!, b.device.vip4!, 1, 99, 1_370));
      // Nothing large is sent, so nothing is known.
      lab.pass(10_000);
      expect(lab.peer(a, b)!.mtu).toBe(1_400);
      for (let i = 0; i < 60 && lab.peer(a, b)!.mtu === 1_400; i++) {
        big();
        lab.pass(50);
      }
      expect(lab.peer(a, b)!.mtu).toBe(outer - inner);
      expect(lab.until(() => lab.peer(a, b)!.mtu === carries - inner, 5_000)).toBe(true);
      carries = 9_999;
      lab.pass(700_000);
      expect(lab.peer(a, b)!.mtu).toBe(1_400);
    }
  });
});
