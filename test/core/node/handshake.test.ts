/** The responder's side of a tunnel, against a peer that does what a test wants. */

import { beforeEach, describe, expect, it } from 'vitest';
import { Channel } from '../../../src/core/channel.ts';
import { readCertificate } from '../../../src/crypto/certificate.ts';
import { type StartedHandshake, startHandshake } from '../../../src/crypto/handshake.ts';
import { generateIdentity } from '../../../src/crypto/identity.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { type Draft, type MessageOf, readEnvelope } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { NoticeReason } from '../../../src/proto/messages.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { idOf, Rogue, there } from './rogue.ts';

const pathId = 'c'.repeat(32);
const elsewhere: Endpoint = { address: '198.51.100.77', port: 9_999 };

let rogue: Rogue;
let channel: Channel;
let transactions = 100;

beforeEach(() => {
  rogue = new Rogue();
  rogue.direct(rogue.direction('b', 'responder', pathId));
  channel = new Channel({
    primitives: rogue.world.primitives('b channel'),
    suite: Suite.aes256Gcm,
    baseKey: new Uint8Array(32).fill(1),
    id: pathId,
    own: { kind: SenderKind.initiator, instance: '9'.repeat(32) },
    accept: new Map([[SenderKind.responder, 1]]),
    proveAddress: false,
    freshKey: true,
  });
});

/** A first message of device `name`, whose certificate says it is `claims`. */
function handshake(epoch: number, name = 'b', claims = name): StartedHandshake {
  const primitives = rogue.world.primitives(`${name} handshake ${++transactions}`);
  const context = {
    suite: Suite.aes256Gcm,
    pathId,
    epoch,
    initiator: idOf('b'),
    responder: idOf('a'),
    temporaryKey: new Uint8Array(32).fill(2),
    caKey: rogue.ca.publicKey,
  };
  const own = {
    handshake: generateIdentity(rogue.world.primitives(name)).handshake,
    certificate: rogue.certificate(claims),
    previous: [],
  };
  const responder = readCertificate(rogue.session.certificate);
  const started = typeof responder === 'string' ? responder : startHandshake(primitives, context, own, responder);
  if (typeof started === 'string') throw new RangeError(started);
  return started;
}

function send(draft: Draft, from = there): void {
  for (const datagram of channel.seal(draft)) rogue.do(rogue.machine.receive(datagram, from, rogue.now));
}

function request(epoch: number, started: StartedHandshake, transactionId = ++transactions, from = there): void {
  send({ type: 'tunnelRequest', id: pathId, transactionId, epoch, body: { endKey: started.message } }, from);
}

/** Tunnel Responses sent so far. */
function responses(): MessageOf<'tunnelResponse'>[] {
  const found: MessageOf<'tunnelResponse'>[] = [];
  for (const { datagram, to } of rogue.of('send')) {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string' || envelope.type !== 'tunnelResponse') continue;
    const opened = channel.open(datagram, envelope, to, rogue.now, true);
    if (opened.kind === 'message' && opened.message.type === 'tunnelResponse') found.push(opened.message);
  }
  return found;
}

describe('a Tunnel Request', () => {
  it('is answered; nothing is sealed before a capsule arrived under the new key', () => {
    rogue.do(rogue.machine.packet(new Uint8Array(40), '100.80.0.3', rogue.now));
    const started = handshake(1);
    request(1, started);
    const [response] = responses();
    expect(started.finish(response!.body.endKey, rogue.now.wall)).toMatchObject({ peer: { fqdn: 'a.lab.example' } });
    expect(rogue.of('installKey')).toMatchObject([{ epoch: 1, activate: false }]);
    expect(rogue.of('activateKey')).toEqual([]);
    expect(rogue.of('sendPackets')).toEqual([]);
    expect(rogue.of('route')).toEqual([]);

    rogue.do(rogue.machine.event({ on: 'opened', pathId, epoch: 1, from: there }, rogue.now));
    expect(rogue.of('activateKey')).toEqual([{ do: 'activateKey', pathId, epoch: 1 }]);
    expect(rogue.of('setEndpoint')).toEqual([{ do: 'setEndpoint', pathId, endpoint: there, relayed: false }]);
    expect(rogue.of('sendPackets')[0]!.packets).toHaveLength(1);
    // The peer's confirmation may get lost: it is sent a few times, and not for ever.
    rogue.pass(10_000);
    expect(rogue.of('sendPackets').filter(({ packets }) => packets.length === 0)).toHaveLength(4);
  });

  it('repeated gets the same answer', () => {
    const started = handshake(1);
    request(1, started, 70);
    rogue.pass(500);
    request(1, started, 70);
    const [first, second] = responses();
    expect(second!.body).toEqual(first!.body);
    expect(rogue.of('installKey')).toHaveLength(1);
  });

  it('costs a computation at most every 100 ms', () => {
    for (let i = 0; i < 50; i++) request(1, handshake(1));
    expect(rogue.of('installKey')).toHaveLength(1);
    expect(rogue.drops).toEqual(new Array(49).fill('rate-limited'));
    rogue.pass(100);
    request(1, handshake(1));
    expect(rogue.of('installKey')).toHaveLength(2);
  });

  it.each([0, 17, 255])('of epoch %i, far from the next one, is refused', (epoch) => {
    request(epoch, handshake(epoch));
    expect(rogue.drops).toEqual(['unknown-epoch']);
    expect(responses()).toEqual([]);
  });

  it('for the epoch in use is refused', () => {
    request(1, handshake(1));
    rogue.do(rogue.machine.event({ on: 'opened', pathId, epoch: 1, from: there }, rogue.now));
    rogue.pass(200);
    request(1, handshake(1));
    expect(rogue.drops).toEqual(['unknown-epoch']);
    expect(rogue.of('installKey')).toHaveLength(1);
  });

  it.each([
    ['by another device of the network', 'c', 'c', 'certificate-name'],
    ["with the right device's certificate and other keys", 'c', 'b', 'certificate-invalid'],
  ])('%s changes nothing', (_what, name, claims, reason) => {
    request(1, handshake(1, name, claims));
    expect(rogue.drops).toEqual([reason]);
    expect(rogue.of('log').at(-1)).toMatchObject({ level: 'warn', fields: { reason, peer: 'b.lab.example' } });
    expect(rogue.of('installKey')).toEqual([]);
    expect(responses()).toEqual([]);
    rogue.pass(200);
    request(1, handshake(1));
    expect(responses()).toHaveLength(1);
  });

  it('altered, or for another epoch than it was made for, changes nothing', () => {
    request(2, handshake(1));
    expect(rogue.drops).toEqual(['handshake-failed']);
    expect(rogue.of('installKey')).toEqual([]);
  });

  it('that nothing follows is forgotten, key and all', () => {
    request(1, handshake(1));
    rogue.pass(16_000);
    expect(rogue.of('retireKey')).toEqual([{ do: 'retireKey', pathId, epoch: 1 }]);
  });
});

describe('an endpoint', () => {
  it('is not where the first capsule came from, if nothing proved that', () => {
    request(1, handshake(1));
    rogue.do(rogue.machine.event({ on: 'opened', pathId, epoch: 1, from: elsewhere }, rogue.now));
    expect(rogue.of('setEndpoint')).toEqual([]);
    const octets = rogue.of('send').filter(({ to }) => to.address === elsewhere.address);
    expect(octets).toHaveLength(1);
  });

  it('follows the relayed flag only from the relay', () => {
    const [relayed] = channel.seal({ type: 'keepAlive', id: pathId, transactionId: 5, flags: 8, body: {} });
    rogue.do(rogue.machine.receive(relayed!, there, rogue.now));
    expect(rogue.drops).toEqual(['foreign-address']);
  });
});

describe('a Notice of the peer', () => {
  it('closes its own path, no other', () => {
    const body = { reason: NoticeReason.pathClosed, subject: 'd'.repeat(32) };
    send({ type: 'notice', id: pathId, transactionId: 1, body });
    expect(rogue.of('removePath')).toEqual([]);
    send({ type: 'notice', id: pathId, transactionId: 2, body: { ...body, subject: pathId } });
    expect(rogue.of('removePath')).toEqual([{ do: 'removePath', pathId }]);
  });
});
