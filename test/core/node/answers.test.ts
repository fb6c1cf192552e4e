/** Answers are remembered for the path they were given on: two peers may well use one instance and Transaction ID. */

import { expect, it } from 'vitest';
import { Channel } from '../../../src/core/channel.ts';
import { readCertificate } from '../../../src/crypto/certificate.ts';
import { startHandshake } from '../../../src/crypto/handshake.ts';
import { generateIdentity } from '../../../src/crypto/identity.ts';
import { readEnvelope } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { idOf, Rogue } from './rogue.ts';

class PathPeer {
  readonly #rogue: Rogue;
  readonly #channel: Channel;
  readonly #pathId: string;
  readonly #from: { readonly address: string; readonly port: number };

  constructor(rogue: Rogue, name: string, pathId: string, from: { readonly address: string; readonly port: number }) {
    this.#rogue = rogue;
    this.#pathId = pathId;
    this.#from = from;
    const tunnelKey = rogue.world.primitives(name).random(32);
    const direction = rogue.direction(name, 'responder', pathId);
    rogue.direct({ ...direction, body: { ...direction.body, tunnelKey } }, pathId.charCodeAt(0));
    this.#channel = new Channel({
      primitives: rogue.world.primitives(`channel of ${name}`),
      suite: Suite.aes256Gcm,
      baseKey: tunnelKey,
      id: pathId,
      own: { kind: SenderKind.initiator, instance: '9'.repeat(32) },
      accept: new Map([[SenderKind.responder, 1]]),
      proveAddress: false,
      freshKey: true,
    });
  }

  handshake(name: string): Uint8Array {
    const { session, ca, world } = this.#rogue;
    const started = startHandshake(
      world.primitives('handshake'),
      {
        suite: Suite.aes256Gcm,
        pathId: this.#pathId,
        epoch: 1,
        initiator: idOf(name),
        responder: idOf('a'),
        temporaryKey: new Uint8Array(32).fill(2),
        caKey: ca.publicKey,
      },
      {
        handshake: generateIdentity(world.primitives(name)).handshake,
        certificate: this.#rogue.certificate(name),
        previous: [],
      },
      readCertificate(session.certificate) as Exclude<ReturnType<typeof readCertificate>, string>,
    );
    if (typeof started === 'string') throw new RangeError(started);
    return started.message;
  }

  /** `from`: in whose name it comes. Returns its octets. */
  request(endKey: Uint8Array, transactionId: number, from = this.#from): number {
    const body = { endKey };
    const datagrams = this.#channel.seal({ type: 'tunnelRequest', id: this.#pathId, transactionId, epoch: 1, body });
    for (const datagram of datagrams) this.#rogue.do(this.#rogue.machine.receive(datagram, from, this.#rogue.now));
    return datagrams.reduce((sum, { length }) => sum + length, 0);
  }

  /** Tunnel Responses that can be opened on this path. */
  get responses(): number {
    const opened = this.#rogue.of('send').map(({ datagram, to }) => {
      const envelope = readEnvelope(datagram);
      if (typeof envelope === 'string' || envelope.type !== 'tunnelResponse') return null;
      return this.#channel.open(datagram, envelope, to, this.#rogue.now, true);
    });
    return opened.filter((one) => one?.kind === 'message').length;
  }
}

it('an answer to one peer is not given to another that copies its instance and Transaction ID', () => {
  const rogue = new Rogue();
  const b = new PathPeer(rogue, 'b', 'c'.repeat(32), { address: '198.51.100.2', port: 7444 });
  const c = new PathPeer(rogue, 'c', 'd'.repeat(32), { address: '198.51.100.3', port: 7444 });
  b.request(b.handshake('b'), 70);
  rogue.pass(500);
  c.request(new Uint8Array(200), 70);
  expect(b.responses).toBe(1);
  expect(c.responses).toBe(0);
  expect(rogue.drops).toEqual(['handshake-failed']);
});

it('a short request gets no long answer by the number of one that was answered, in whosever name', () => {
  const rogue = new Rogue();
  const victim = { address: '198.51.100.66', port: 53 };
  const atVictim = (): number =>
    rogue
      .of('send')
      .filter(({ to }) => to.address === victim.address)
      .reduce((sum, { datagram }) => sum + datagram.length, 0);
  const b = new PathPeer(rogue, 'b', 'c'.repeat(32), { address: '198.51.100.2', port: 7444 });
  const handshake = b.handshake('b');
  b.request(handshake, 70);
  rogue.pass(500);
  let spent = 0;
  for (let i = 0; i < 20; i++) {
    spent += b.request(new Uint8Array(1), 70, victim);
    rogue.pass(200);
  }
  expect(atVictim()).toBeLessThanOrEqual(3 * spent);
  // The same one again is answered the same, which is no longer than it.
  spent += b.request(handshake, 70, victim);
  expect(b.responses).toBe(2);
  expect(atVictim()).toBeLessThanOrEqual(3 * spent);
});
