import { beforeEach, describe, expect, it } from 'vitest';
import { Channel } from '../../src/core/channel.ts';
import type { TrsMachine, TrsOptions } from '../../src/core/trs.ts';
import { relayKey, serviceKey } from '../../src/crypto/kdf.ts';
import type { KeyPair } from '../../src/crypto/primitives.ts';
import { type Endpoint, sameEndpoint } from '../../src/lib/ip.ts';
import type { Message, MessageOf } from '../../src/proto/codec.ts';
import { Suite } from '../../src/proto/constants.ts';
import { Flag, NoticeReason } from '../../src/proto/messages.ts';
import { Refusal, SenderKind } from '../../src/proto/options.ts';
import { Cloud, nmsEndpoint } from './support/cloud.ts';
import type { FakeNode } from './support/node.ts';

const P1 = '1'.repeat(32);
const P2 = '2'.repeat(32);
const trsAt: Endpoint = { address: '198.51.100.20', port: 7442 };
const natA: Endpoint = { address: '203.0.113.5', port: 61_000 };
const natB: Endpoint = { address: '203.0.113.6', port: 62_000 };

type Direction = MessageOf<'routeDirection'>;

let cloud: Cloud;
let trs: TrsMachine;
let keys: KeyPair;
let nodeId: string;
let a: FakeNode;
let b: FakeNode;

function setUp(limits: NonNullable<TrsOptions['limits']>): void {
  cloud = new Cloud();
  ({ trs, keys, nodeId } = cloud.addTrs('trs', trsAt, { limits }));
  a = cloud.addNode(cloud.addDevice('a'), { address: '10.0.0.2', port: 7444 }, natA);
  b = cloud.addNode(cloud.addDevice('b'), { address: '10.1.0.2', port: 7444 }, natB);
  a.register();
  b.register();
}

beforeEach(() => setUp({ paths: 8, pathsPerDevice: 4 }));

function directed(pathId = P1): Direction {
  const answer = a.direct('b.lab.example', pathId);
  if (answer?.type !== 'routeDirection') throw new RangeError('no direction');
  return answer;
}

const toTrs = ({ to }: { readonly to: Endpoint }): boolean => sameEndpoint(to, trsAt);
const { initiator, responder } = SenderKind;
const bindSide = (side: 0 | 1, endpoint: Endpoint, pathId = P1) => ({ do: 'bindSide', pathId, side, endpoint });

describe('an announced path', () => {
  it('is relayed between the addresses that proved themselves', () => {
    const direction = directed();
    expect(cloud.relayed).toEqual([]);
    expect(a.bind(direction, initiator, trsAt)).toMatchObject({
      type: 'ack',
      flags: Flag.response,
      options: { mapped: { endpoint: natA } },
    });
    expect(cloud.relayed).toEqual([{ do: 'addRelay', pathId: P1 }, bindSide(0, natA)]);
    expect(b.bind(direction, responder, trsAt)).toBeDefined();
    expect(cloud.relayed.slice(2)).toEqual([bindSide(1, natB)]);
    a.bind(direction, initiator, trsAt);
    expect(cloud.relayed).toHaveLength(3);
  });

  it('follows an end that moved, after a proof', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    a.mapped = { ...natA, port: 1234 };
    cloud.place(a);
    const challenges = cloud.counts.get('challenges')!;
    a.bind(direction, initiator, trsAt);
    expect(cloud.relayed.at(-1)).toEqual(bindSide(0, a.mapped));
    expect(cloud.counts.get('challenges')).toBe(challenges + 1);
  });

  it('is not bound to an address that somebody else sent the same datagram from', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    const thief: Endpoint = { address: '203.0.113.66', port: 1 };
    cloud.filter = ({ from, to, datagram }) => {
      if (!toTrs({ to }) || from === thief) return true;
      cloud.send(thief, trsAt, datagram);
      return false;
    };
    a.bind(direction, initiator, trsAt);
    expect(cloud.relayed.at(-1)).toEqual(bindSide(0, natA));
  });

  it('is not moved back by a datagram that was held on its way', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    const held: Uint8Array[] = [];
    cloud.filter = ({ to, datagram }) => {
      if (toTrs({ to })) held.push(datagram);
      return !toTrs({ to });
    };
    a.bind(direction, initiator, trsAt);
    cloud.filter = () => true;
    a.mapped = { ...natA, port: 1234 };
    cloud.place(a);
    a.bind(direction, initiator, trsAt);
    for (const datagram of held) cloud.send(natA, trsAt, datagram);
    expect(cloud.relayed.at(-1)).toEqual(bindSide(0, a.mapped));
  });

  it('is bound neither by replays nor by other keys', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    const { length } = cloud.relayed;
    const recorded = cloud.sent.filter((s) => toTrs(s) && s.from === natA);
    for (const { datagram } of recorded) cloud.send({ ...natA, port: 1 }, trsAt, datagram);
    const forged = { ...direction, body: { ...direction.body, tunnelKey: new Uint8Array(32) } };
    expect(b.bind(forged, responder, trsAt)).toBeUndefined();
    expect(cloud.drops.get('tag')).toBe(1);
    expect(cloud.relayed).toHaveLength(length);
  });

  it('is closed by the NMS when an end is revoked', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    expect(cloud.relayed.at(-1)).toEqual({ do: 'removeRelay', pathId: P1 });
    expect(trs.sizes).toEqual({ paths: 0, bound: 0 });
    expect(b.bind(direction, responder, trsAt)).toBeUndefined();
    expect(cloud.drops.get('relay-not-announced')).toBeGreaterThan(0);
  });

  it('is unbound when idle, and bound again on the next Keep Alive', () => {
    const direction = directed();
    a.bind(direction, initiator, trsAt);
    cloud.pass(14 * 60_000);
    trs.forwarded([P1], cloud.now);
    cloud.pass(14 * 60_000);
    expect(trs.sizes.bound).toBe(1);
    cloud.pass(2 * 60_000);
    expect(cloud.relayed.at(-1)).toEqual({ do: 'removeRelay', pathId: P1 });
    expect(trs.sizes).toEqual({ paths: 1, bound: 0 });
    a.bind(direction, initiator, trsAt);
    expect(cloud.relayed.slice(-2)).toEqual([{ do: 'addRelay', pathId: P1 }, bindSide(0, natA)]);
  });
});

describe('nothing is relayed', () => {
  it('that was not announced', () => {
    const direction = directed();
    const other = { ...direction, body: { ...direction.body, pathId: P2 } };
    expect(a.bind(other, initiator, trsAt)).toBeUndefined();
    expect(cloud.drops.get('relay-not-announced')).toBe(1);
    expect(cloud.relayed).toEqual([]);
  });

  it('that comes with the relayed flag from an address that proved nothing', () => {
    const direction = directed();
    const send = (id: string): void => {
      const channel = a.path({ ...direction, body: { ...direction.body, pathId: id } }, initiator);
      for (const datagram of channel.seal({ type: 'keepAlive', id, transactionId: 1, flags: Flag.relayed, body: {} })) {
        cloud.send(natA, trsAt, datagram);
      }
    };
    send(P1);
    expect(cloud.drops.get('relay-unproven')).toBe(1);
    send(P2);
    expect(cloud.drops.get('relay-not-announced')).toBe(1);
    expect(cloud.relayed).toEqual([]);
  });

  it('to an address inside the overlay', () => {
    const direction = directed();
    a.mapped = { address: '100.80.0.7', port: 7444 };
    cloud.place(a);
    a.bind(direction, initiator, trsAt);
    expect(cloud.drops.get('forbidden-address')).toBe(1);
    expect(cloud.relayed).toEqual([]);
  });
});

describe('announcements', () => {
  /** Speaks to the TRS as a service with these keys. */
  const service = (
    own: KeyPair,
    peer: Uint8Array,
    id: string,
    kind: SenderKind,
    accept: SenderKind = SenderKind.trs,
  ) => {
    const primitives = cloud.world.primitives(`service ${id} ${kind}`);
    const channel = new Channel({
      primitives,
      suite: Suite.aes256Gcm,
      baseKey: serviceKey(primitives, own, peer)!,
      id,
      own: { kind, instance: primitives.random(16).toHex() },
      accept: new Map([[accept, 1]]),
      proveAddress: false,
      freshKey: false,
    });
    const relay = relayKey(primitives, new Uint8Array(32).fill(1));
    const announce = (pathId: string, ends: [string, string], tunnelKey = relay, cipherType = 2) =>
      a.request(
        {
          type: 'relayRequest',
          id,
          body: { pathId, cipherType, tunnelKey },
          options: { relayEnds: { initiator: ends[0], responder: ends[1] } },
        },
        trsAt,
        channel,
      );
    return { channel, announce };
  };

  /** The NMS itself, spoken for by node a's socket. */
  const nms = () => {
    const { announce, channel } = service(cloud.nmsKeys, keys.publicKey, cloud.nmsId, SenderKind.nms);
    // Datagrams of this channel come to node a, which opens them on it.
    a.channel = channel;
    return announce;
  };
  const one = 'a'.repeat(32);
  const two = 'b'.repeat(32);
  const answered = (answer: Message | undefined, refusal?: number) =>
    expect(answer).toMatchObject(
      refusal === undefined
        ? { type: 'relayResponse', id: nodeId, flags: Flag.response }
        : { type: 'relayResponse', flags: Flag.response | Flag.failure, options: { refusal: { reason: refusal } } },
    );

  it('of the same path are answered the same, of its PathID by other ends or keys refused', () => {
    const announce = nms();
    answered(announce(P1, [one, two]));
    answered(announce(P1, [one, two]));
    answered(announce(P1, ['c'.repeat(32), two]), Refusal.pathIdInUse);
    answered(announce(P1, [one, 'c'.repeat(32)]), Refusal.pathIdInUse);
    answered(announce(P1, [one, two], new Uint8Array(32).fill(2)), Refusal.pathIdInUse);
    answered(announce(cloud.nmsId, [one, two]), Refusal.pathIdInUse);
    expect(trs.sizes.paths).toBe(1);
    expect(cloud.drops.get('path-in-use')).toBe(4);
  });

  it('give no key away', () => {
    const answer = nms()(P1, [one, two]);
    expect(answer).toMatchObject({ body: { tunnelKey: new Uint8Array(0) } });
  });

  it('of a suite nobody knows are refused', () => {
    const announce = nms();
    answered(announce(P1, [one, two], new Uint8Array(32), 9), Refusal.suite);
    answered(announce(P1, [one, two], new Uint8Array(16)), Refusal.suite);
  });

  it('are bounded: unused ones make room, paths in use do not', () => {
    const announce = nms();
    const path = (i: number): string => String(i).repeat(32);
    for (let i = 1; i <= 6; i++) answered(announce(path(i), [one, two]));
    expect(trs.sizes.paths).toBe(4);
    const direction = (pathId: string): Direction =>
      ({ body: { pathId, tunnelKey: new Uint8Array(32).fill(1) } }) as Direction;
    for (let i = 3; i <= 6; i++) expect(b.bind(direction(path(i)), responder, trsAt)).toBeDefined();
    answered(announce(path(7), [one, two]), Refusal.overloaded);
    expect(cloud.drops.get('relay-limit')).toBe(1);
    answered(announce(path(8), ['c'.repeat(32), 'd'.repeat(32)]));
    expect(trs.sizes).toEqual({ paths: 5, bound: 4 });
  });

  it('of one pair displace each other, so that nobody uses up what another device may have', () => {
    setUp({ pathsPerPair: 2 });
    const announce = nms();
    const path = (i: number): string => i.toString(16).repeat(32);
    const direction = (pathId: string): Direction =>
      ({ body: { pathId, tunnelKey: new Uint8Array(32).fill(1) } }) as Direction;
    for (let i = 1; i <= 3; i++) {
      answered(announce(path(i), [one, two]));
      expect(b.bind(direction(path(i)), initiator, trsAt)).toBeDefined();
    }
    expect(trs.sizes).toEqual({ paths: 2, bound: 2 });
    expect(cloud.relayed).toContainEqual({ do: 'removeRelay', pathId: path(1) });
    answered(announce(path(4), ['c'.repeat(32), two]));
    answered(announce(path(5), [two, 'c'.repeat(32)]));
    expect(trs.sizes).toEqual({ paths: 4, bound: 2 });
  });

  it('are taken from a registered NMS only: a stolen TRS key is none', () => {
    const thief = cloud.addTrs('thief', { address: '198.51.100.66', port: 7442 });
    const asTrs = service(thief.keys, keys.publicKey, thief.nodeId, SenderKind.nms);
    expect(asTrs.announce(P1, [one, two])).toBeUndefined();
    const asNms = service(thief.keys, keys.publicKey, cloud.nmsId, SenderKind.nms);
    expect(asNms.announce(P1, [one, two])).toBeUndefined();
    expect(cloud.drops.get('unknown-sender')).toBe(1);
    expect(cloud.drops.get('tag')).toBe(1);
    expect(trs.sizes.paths).toBe(0);
  });

  it('are not taken by an NMS, nor its own words from a TRS', () => {
    const asTrs = service(keys, cloud.nmsKeys.publicKey, nodeId, SenderKind.trs, SenderKind.nms);
    a.channel = asTrs.channel;
    const pathId = P1;
    const body = { pathId, cipherType: 2, tunnelKey: new Uint8Array(32) };
    expect(a.request({ type: 'relayRequest', id: nodeId, body }, nmsEndpoint, asTrs.channel)).toBeUndefined();
    const asNms = service(keys, cloud.nmsKeys.publicKey, nodeId, SenderKind.nms, SenderKind.nms);
    expect(a.request({ type: 'relayRequest', id: nodeId, body }, nmsEndpoint, asNms.channel)).toBeUndefined();
    expect(cloud.drops.get('sender-kind')).toBe(1);
  });

  it('of an NMS that left the register count no more', () => {
    const announce = nms();
    answered(announce(P1, [one, two]));
    cloud.register.services = cloud.register.services.filter((s) => s.role !== 'nms');
    cloud.changed();
    expect(announce(P2, [one, two])).toBeUndefined();
    expect(trs.sizes.paths).toBe(1);
  });

  it('raced from another address are challenged there, not answered', () => {
    directed();
    const thief: Endpoint = { address: '203.0.113.66', port: 1 };
    let raced = 0;
    cloud.filter = ({ from, to, datagram }) => {
      if (!toTrs({ to }) || from === thief || raced > 0) return true;
      raced += 1;
      cloud.send(thief, trsAt, datagram);
      return false;
    };
    a.direct('b.lab.example', P2);
    expect(raced).toBe(1);
    expect(trs.sizes.paths).toBe(1);
    cloud.pass(1_000);
    expect(trs.sizes.paths).toBe(2);
  });

  it('recorded from an earlier NMS count neither after its nor after our restart', () => {
    directed();
    const recorded = cloud.sent.filter(toTrs);
    expect(recorded.length).toBeGreaterThan(0);
    cloud.startNms('second');
    a.register();
    b.register();
    directed(P2);
    const announcements = cloud.counts.get('announcements');
    for (const { from, to, datagram } of recorded) cloud.send(from, to, datagram);
    expect(cloud.counts.get('announcements')).toBe(announcements);
  });
});

describe('draining', () => {
  it('tells the NMS and the ends in use, keeps what there is and takes nothing new', () => {
    const direction = directed();
    directed(P2);
    a.bind(direction, initiator, trsAt);
    b.bind(direction, responder, trsAt);
    cloud.run(trs, trs.drain(cloud.now), trsAt);
    const told = [{ reason: NoticeReason.relayDraining, subject: P1 }];
    expect(a.notices).toEqual(told);
    expect(b.notices).toEqual(told);
    expect(trs.sizes).toEqual({ paths: 2, bound: 2 - 1 });
    // The only relay there is: the NMS asks it, is refused, and lets the pair punch.
    expect(a.direct('b.lab.example', '3'.repeat(32))).toMatchObject({ flags: Flag.response, body: { trs4: null } });
    cloud.pass(60_000);
    expect(a.notices).toEqual(told);
  });
});

it('no number is ever used twice under one key', () => {
  for (const pathId of [P1, P2]) {
    const direction = directed(pathId);
    for (let i = 0; i < 20; i++) {
      a.mapped = { ...natA, port: 2_000 + i };
      cloud.place(a);
      a.bind(direction, initiator, trsAt);
      b.bind(direction, responder, trsAt);
    }
    cloud.startNms(pathId);
    a.register();
    b.register();
  }
  expect(cloud.world.sealed).toBeGreaterThan(200);
  expect(cloud.world.reused).toEqual([]);
});

it('starts without a register, and asks again', () => {
  cloud.register.broken = true;
  const late = cloud.addTrs('late', { address: '198.51.100.30', port: 7442 });
  cloud.register.broken = false;
  cloud.pass(2_000);
  cloud.filter = (sent) => !toTrs(sent);
  a.direct('b.lab.example', P1);
  cloud.pass(2_000);
  expect(late.trs.sizes.paths).toBe(1);
});
