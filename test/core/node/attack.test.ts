import { beforeEach, describe, expect, it } from 'vitest';
import { type Endpoint, formatEndpoint } from '../../../src/lib/ip.ts';
import { HeaderOffset } from '../../../src/proto/header.ts';
import type { Host } from '../../sim/network.ts';
import type { SimNode } from '../../sim/node.ts';
import { Lab } from './lab.ts';

let lab: Lab;
let a: SimNode;
let b: SimNode;
let mallory: Host;
let heard: { datagram: Uint8Array; from: Endpoint }[];

beforeEach(async () => {
  lab = await Lab.open();
  a = await lab.node('a', lab.publicly());
  b = await lab.node('b', lab.publicly());
  heard = [];
  mallory = {
    name: 'mallory',
    port: 666,
    ...lab.publicly(),
    receive: (datagram, from) => void heard.push({ datagram, from }),
  };
  lab.network.attach(mallory);
});

const endpointOf = (node: SimNode): Endpoint => ({ address: node.host.address4!, port: node.host.port });

/** Mallory sends on what the node said to the other one, under her own address, and sooner. */
function race(from: SimNode, to: SimNode, types: readonly string[], lose: boolean): { octets: number } {
  const spent = { octets: 0 };
  lab.tamper = ({ host, type, datagram, to: target }) => {
    if (host !== from.host || !types.includes(type) || target.address !== to.host.address4) return 'pass';
    spent.octets += datagram.length;
    lab.network.send(mallory, target, datagram);
    return lose ? 'lose' : 'pass';
  };
  return spent;
}

const gotByMallory = (): number => heard.reduce((sum, { datagram }) => sum + datagram.length, 0);

describe('an attacker who races datagrams', () => {
  it.each([true, false])('of Hole Punching does not become the peer (original lost: %s)', (lose) => {
    const spent = race(a, b, ['holePunching'], lose);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.reaches(b, a)).toBe(true);
    lab.pass(15_000);
    expect(spent.octets).toBeGreaterThan(0);
    expect(heard.length).toBeGreaterThan(0);
    expect(gotByMallory()).toBeLessThanOrEqual(3 * spent.octets);
    expect(lab.peer(b, a)!.endpoint).toBe(formatEndpoint(endpointOf(a)));
    expect(lab.sent.filter(({ type, to }) => type === 'capsule' && to.address === mallory.address4)).toEqual([]);
  });

  it('of a handshake does not become the peer', () => {
    race(a, b, ['tunnelRequest', 'capsule'], true);
    lab.send(a, b);
    lab.pass(3_000);
    expect(
      lab.sent.filter(({ type, to, host }) => type === 'capsule' && host === b.host && to.address === mallory.address4),
    ).toEqual([]);
    lab.tamper = () => 'pass';
    expect(lab.reaches(a, b, 10_000)).toBe(true);
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.peer(b, a)!.endpoint).toBe(formatEndpoint(endpointOf(a)));
  });

  it('of capsules takes no traffic away', () => {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(2_000);
    race(a, b, ['capsule'], true);
    for (let i = 0; i < 100; i++) {
      lab.send(a, b);
      const number = lab.send(b, a);
      lab.pass(100);
      expect(lab.has(a, number)).toBe(true);
    }
    expect(lab.peer(b, a)!.endpoint).toBe(formatEndpoint(endpointOf(a)));
  });

  it('of a registration moves nothing', async () => {
    const { nms } = lab.cloud;
    lab.tamper = ({ host, type, datagram, to }) => {
      if (host !== a.host || type !== 'registrationRequest') return 'pass';
      lab.network.send(mallory, to, datagram);
      return 'lose';
    };
    a.move(lab.publicly());
    lab.pass(5_000);
    lab.tamper = () => 'pass';
    lab.pass(5_000);
    expect(nms.sizes!.nodes).toBe(2);
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.sent.filter(({ type, to }) => type === 'routeDirection' && to.address === mallory.address4)).toEqual([]);
  });
});

describe('an attacker who repeats', () => {
  it('everything ever sent changes nothing, also after both ends started anew', () => {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(1_000);
    const recorded = [...lab.sent];
    const replay = (): void => {
      for (const { host, to, datagram } of recorded) if (host !== mallory) lab.network.send(host, to, datagram);
      for (const { to, datagram } of recorded) lab.network.send(mallory, to, datagram);
      lab.pass(500);
    };
    const arrived = lab.arrived.length;
    const [path] = a.pathsTo(b);
    replay();
    expect(a.pathsTo(b)).toEqual([path]);
    for (const node of [a, b]) {
      node.kill();
      node.start();
    }
    lab.pass(2_000);
    replay();
    expect(a.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(b.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(lab.arrived).toHaveLength(arrived);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.world.reused).toEqual([]);
  });
});

describe('an attacker who sends on what is not hers', () => {
  /** What the two said to each other, and how it stands between them. */
  function recorded(type: string) {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(1_000);
    const datagrams = lab.sent.filter((s) => s.type === type && [a.host, b.host].includes(s.host));
    expect(datagrams.length).toBeGreaterThan(0);
    return { datagrams, endpoints: [lab.peer(a, b)!.endpoint, lab.peer(b, a)!.endpoint] };
  }

  function expectUnmoved(endpoints: readonly (string | null)[], octets: number): void {
    lab.pass(3_000);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.reaches(b, a)).toBe(true);
    expect([lab.peer(a, b)!.endpoint, lab.peer(b, a)!.endpoint]).toEqual(endpoints);
    expect(gotByMallory()).toBeLessThanOrEqual(3 * octets);
    expect(lab.sent.filter(({ type, to }) => type === 'capsule' && to.address === mallory.address4)).toEqual([]);
  }

  it('replays Hole Punching of a living path, and is not answered', () => {
    const { datagrams, endpoints } = recorded('holePunching');
    const repeat = (): void => {
      for (const { to, datagram } of datagrams) lab.network.send(mallory, to, datagram);
      lab.pass(200);
    };
    // One that came before its receiver knew the path is new to it: it is answered, once and no larger.
    repeat();
    expect(gotByMallory()).toBeLessThanOrEqual(3 * datagrams.reduce((sum, { datagram }) => sum + datagram.length, 0));
    heard = [];
    for (let i = 0; i < 20; i++) repeat();
    expect(heard).toEqual([]);
    expectUnmoved(endpoints, 0);
  });

  it('throws probes back at their sender, who takes them for nobody’s', () => {
    const { datagrams, endpoints } = recorded('holePunching');
    const sent = lab.sent.length;
    for (const { host, datagram } of datagrams) {
      const node = host === a.host ? a : b;
      // From her own address, and in the name of the peer.
      lab.network.send(mallory, endpointOf(node), datagram);
      lab.network.send(node === a ? b.host : a.host, endpointOf(node), datagram);
    }
    lab.pass(200);
    const provoked = lab.sent.slice(sent).filter(({ host, type }) => host !== mallory && type === 'ack');
    expect(provoked).toEqual([]);
    expect(heard).toEqual([]);
    expectUnmoved(endpoints, 0);
  });

  it('has a device of her own, and registers another with its key in vain', async () => {
    const { endpoints } = recorded('holePunching');
    const m = await lab.node('m', lab.publicly());
    const [own] = lab.sent.filter(({ host, type }) => host === m.host && type === 'registrationRequest').slice(-1);
    const forged = own!.datagram.slice();
    forged.set(Uint8Array.fromHex(a.device.nodeId), HeaderOffset.id);
    for (let i = 0; i < 20; i++) lab.network.send(mallory, own!.to, forged);
    lab.pass(1_000);
    expect(a.snapshot!.mapped).toEqual([formatEndpoint(endpointOf(a))]);
    // The NMS still leads others to the device itself.
    expect(lab.reaches(m, a)).toBe(true);
    expect(lab.peer(m, a)!.endpoint).toBe(formatEndpoint(endpointOf(a)));
    expectUnmoved(endpoints, 20 * forged.length);
  });
});

describe('an attacker who makes things up', () => {
  it('is dropped with a reason, and nothing else happens', () => {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(1_000);
    const before = a.snapshot;
    const { random } = lab.parts;
    const templates = lab.sent.filter(({ to }) => to.address === a.host.address4).map(({ datagram }) => datagram);
    for (let i = 0; i < 20_000; i++) {
      let datagram: Uint8Array;
      if (i % 2 === 0) {
        datagram = random.octets(random.whole(0, 200));
      } else {
        datagram = templates[random.whole(0, templates.length - 1)]!.slice();
        datagram[random.whole(0, datagram.length - 1)]! ^= 1 << random.whole(0, 7);
      }
      lab.network.send(mallory, endpointOf(a), datagram);
      if (i % 100 === 0) lab.pass(1);
    }
    lab.pass(100);
    expect(a.sizes).toMatchObject({ paths: 1, keys: 1 });
    expect(a.snapshot!.peers[0]).toMatchObject({
      state: before!.peers[0]!.state,
      endpoint: before!.peers[0]!.endpoint,
    });
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.world.reused).toEqual([]);
  });
});
