/** What a node makes of a TRS that does not answer: that UDP is blocked, or that the path is forgotten there. */

import { beforeEach, describe, expect, it } from 'vitest';
import { Channel } from '../../../src/core/channel.ts';
import { relayKey } from '../../../src/crypto/kdf.ts';
import { type Endpoint, formatEndpoint } from '../../../src/lib/ip.ts';
import { readEnvelope } from '../../../src/proto/codec.ts';
import { KEEP_ALIVE_MS, Suite } from '../../../src/proto/constants.ts';
import { Flag, ProcessCode } from '../../../src/proto/messages.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { here, Rogue } from './rogue.ts';

const trs: Endpoint = { address: '192.0.2.11', port: 7442 };
/** Four transmissions. */
const GIVEN_UP_MS = 2_000;

let rogue: Rogue;
/** Paths that the TRS knows. */
let known: Map<string, Channel>;
let paths = 0;

beforeEach(() => {
  rogue = new Rogue();
  known = new Map();
  rogue.hosts.set(formatEndpoint(trs), (datagram) => {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') throw new RangeError(envelope);
    const channel = known.get(envelope.id);
    const opened = channel?.open(datagram, envelope, here, rogue.now, true);
    if (opened?.kind !== 'message' || opened.message.type !== 'keepAlive') return [];
    const { id, transactionId } = opened.message;
    return channel!.seal({ type: 'ack', id, transactionId, flags: Flag.response, body: {} });
  });
});

/** An NMS directs a path through the TRS, which is told of it, or is not. */
function direct(isKnown: boolean): void {
  const pathId = (++paths).toString(16).padStart(32, '0');
  const direction = rogue.direction('b', 'responder', pathId);
  const body = { ...direction.body, processCode: ProcessCode.relay, trs4: trs.address };
  const relay = { relayPorts: { port: trs.port, nodeId: 'f'.repeat(32) }, streamPort: { port: 443 } };
  rogue.direct({ ...direction, body, options: { ...direction.options, ...relay } }, paths);
  if (!isKnown) return;
  known.set(
    pathId,
    new Channel({
      primitives: rogue.world.primitives(`trs ${pathId}`),
      suite: Suite.aes256Gcm,
      baseKey: relayKey(rogue.primitives, body.tunnelKey!),
      id: pathId,
      own: { kind: SenderKind.trs, instance: pathId },
      accept: new Map([[SenderKind.responder, 1]]),
      proveAddress: false,
      freshKey: true,
    }),
  );
}

const streams = (): number => rogue.of('connect').length;
const confirmed = (): number => rogue.received.filter(({ type }) => type === 'routeDirectionConfirmation').length;

describe('a TRS that answers by UDP', () => {
  beforeEach(() => {
    direct(true);
    rogue.pass(1_000);
    expect(confirmed()).toBe(1);
  });

  it('and does not know a path is not asked over TLS, and given up as soon as ever', () => {
    direct(false);
    rogue.pass(GIVEN_UP_MS);
    expect(confirmed()).toBe(2);
    rogue.pass(10_000);
    expect(streams()).toBe(0);
  });

  it('and forgets a path that it knew is not asked over TLS either', () => {
    known.clear();
    rogue.pass(2 * KEEP_ALIVE_MS);
    expect(rogue.machine.snapshot(rogue.now).services).toContainEqual(
      expect.objectContaining({ role: 'trs', transport: 'udp', state: 'down' }),
    );
    expect(streams()).toBe(0);
  });

  it('and falls silent together with the NMS is asked over TLS: UDP is blocked', () => {
    known.clear();
    rogue.deaf = true;
    rogue.pass(2 * KEEP_ALIVE_MS);
    expect(streams()).toBe(1);
  });

  it('and does not where the node has moved to is asked over TLS', () => {
    known.clear();
    const there = { ...here, address: '198.51.100.77' };
    rogue.do(rogue.machine.localAddresses([{ ...there, kind: 'host' }], rogue.now));
    rogue.pass(GIVEN_UP_MS);
    expect(streams()).toBe(1);
  });
});

it('a TRS that never answered by UDP is asked over TLS, although the NMS answers', () => {
  direct(false);
  rogue.pass(1_500);
  expect(streams()).toBe(0);
  rogue.pass(GIVEN_UP_MS - 1_500);
  expect(streams()).toBe(1);
});
