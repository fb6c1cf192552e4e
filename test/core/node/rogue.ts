/** One node machine alone with an NMS that says whatever a test wants, under a real CA. */

import { Channel } from '../../../src/core/channel.ts';
import { noRoute } from '../../../src/core/nms/route.ts';
import { NodeMachine } from '../../../src/core/node/machine.ts';
import type { NodeAction, Session } from '../../../src/core/node/types.ts';
import { type CertificateContent, issueCertificate } from '../../../src/crypto/certificate.ts';
import { generateIdentity, publicIdentity } from '../../../src/crypto/identity.ts';
import { type Endpoint, formatEndpoint, parsePrefix, sameEndpoint } from '../../../src/lib/ip.ts';
import type { Now } from '../../../src/lib/time.ts';
import { type Draft, type Message, type MessageOf, readEnvelope } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { type Body, Flag } from '../../../src/proto/messages.ts';
import { type Options, SenderKind } from '../../../src/proto/options.ts';
import { World } from '../../support/primitives.ts';

export const nms: Endpoint = { address: '192.0.2.10', port: 7441 };
export const here: Endpoint = { address: '198.51.100.1', port: 7444 };
export const there: Endpoint = { address: '198.51.100.2', port: 7444 };
const wall = Date.UTC(2026, 0, 15);

type Answer = { readonly body?: Partial<Body<'routeDirection'>>; readonly options?: Options; readonly flags?: number };

export class Rogue {
  readonly world = new World('rogue');
  readonly primitives = this.world.primitives('node');
  readonly ca = this.primitives.ed25519Generate();
  readonly foreignCa = this.primitives.ed25519Generate();
  readonly identity = generateIdentity(this.primitives);
  readonly actions: NodeAction[] = [];
  readonly received: Message[] = [];
  readonly session: Session;
  readonly machine: NodeMachine;
  /** What a Direction Request is answered with; null = nothing. */
  answer: (request: MessageOf<'directionRequest'>) => Answer | null = () => null;
  /** The NMS hears nothing. */
  deaf: boolean;
  /** Streams lead to the NMS. */
  streamed = false;
  /** Who else is there, by endpoint: what comes back for a datagram. */
  readonly hosts = new Map<string, (datagram: Uint8Array) => readonly Uint8Array[]>();
  ms = 1_000;
  #channel: Channel;

  constructor(suite: Suite = Suite.aes256Gcm, deaf = false, streams: readonly Endpoint[] = []) {
    this.deaf = deaf;
    const commonKey = this.primitives.random(32);
    const own = this.certificate('a', { ...publicIdentity(this.identity) });
    this.session = {
      nodeId: idOf('a'),
      fqdn: 'a.lab.example',
      vip4: '100.80.0.2',
      vip6: null,
      commonKey,
      suite: Suite.aes256Gcm,
      certificate: own,
      certificateExpires: wall + 7 * 86_400_000,
      caPublicKey: this.ca.publicKey,
      nms4: nms,
      nms6: null,
      streams,
      overlay: [parsePrefix('100.80.0.0/16')!, parsePrefix('fd00:80::/64')!],
      domain: 'lab.example',
    };
    this.machine = new NodeMachine({ primitives: this.primitives, suite, identity: this.identity });
    this.#channel = this.nmsChannel();
    this.do(this.machine.session(this.session, this.now));
    this.do(this.machine.localAddresses([{ ...here, kind: 'host' }], this.now));
  }

  /** Where the NMS was spoken to last. */
  #at: Endpoint = nms;

  get now(): Now {
    return { ms: this.ms, wall: wall + this.ms };
  }

  /** The NMS in another life. */
  nmsChannel(instance = this.world.primitives('nms').random(16).toHex()): Channel {
    this.#channel = new Channel({
      primitives: this.world.primitives('nms'),
      suite: Suite.aes256Gcm,
      baseKey: this.session.commonKey,
      id: this.session.nodeId,
      own: { kind: SenderKind.nms, instance },
      accept: new Map([[SenderKind.node, 1]]),
      proveAddress: false,
      freshKey: true,
    });
    return this.#channel;
  }

  certificate(name: string, content: Partial<CertificateContent> = {}, ca = this.ca): Uint8Array {
    const keys = generateIdentity(this.world.primitives(name));
    const host = name.charCodeAt(0) - 'a'.charCodeAt(0) + 2;
    return issueCertificate(this.primitives, ca.privateKey, {
      nodeId: idOf(name),
      fqdn: `${name}.lab.example`,
      vip4: `100.80.0.${host}`,
      vip6: null,
      ...publicIdentity(keys),
      groups: [],
      notBefore: wall / 1000 - 3_600,
      notAfter: wall / 1000 + 7 * 86_400,
      ...content,
    }).octets;
  }

  /** A Route Direction's content that leads to this device, for a test to change. */
  direction(name: string, role: 'initiator' | 'responder', pathId = 'c'.repeat(32)): Required<Answer> {
    const ends = role === 'initiator' ? [idOf('a'), idOf(name)] : [idOf(name), idOf('a')];
    return {
      flags: 0,
      body: {
        pathId,
        cipherType: Suite.aes256Gcm,
        tunnelKey: new Uint8Array(32).fill(1),
        temporaryKey: new Uint8Array(32).fill(2),
      },
      options: {
        certificate: { certificate: this.certificate(name) },
        candidates: { list: [{ ...there, kind: 'host' }] },
        pathEnds: { initiator: ends[0]!, responder: ends[1]! },
      },
    };
  }

  /** The NMS speaks first. */
  say(draft: Draft): void {
    for (const datagram of this.#channel.seal(draft)) this.do(this.machine.receive(datagram, this.#at, this.now));
  }

  direct(answer: Answer, transactionId = 7): void {
    this.say({ type: 'routeDirection', id: this.session.nodeId, transactionId, ...filled(answer) });
  }

  pass(ms: number, step = 50): void {
    for (const end = this.ms + ms; this.ms < end; ) {
      this.ms += Math.min(step, end - this.ms);
      this.do(this.machine.tick(this.now));
    }
  }

  do(actions: readonly NodeAction[]): void {
    for (const action of actions) {
      this.actions.push(action);
      if (action.do !== 'send') continue;
      const { to } = action;
      for (const answer of this.hosts.get(formatEndpoint(to))?.(action.datagram) ?? [])
        this.do(this.machine.receive(answer, to, this.now));
      if (to.over === 'tls' ? !this.streamed : !sameEndpoint(to, nms) || this.deaf) continue;
      this.#at = to;
      this.#toNms(action.datagram);
    }
  }

  of<D extends NodeAction['do']>(what: D): Extract<NodeAction, { do: D }>[] {
    return this.actions.filter((action): action is Extract<NodeAction, { do: D }> => action.do === what);
  }

  get drops(): string[] {
    return this.of('drop').map(({ reason }) => reason);
  }

  get answers(): unknown[] {
    return this.of('answer').map(({ result }) => result);
  }

  #toNms(datagram: Uint8Array): void {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') throw new RangeError(envelope);
    const opened = this.#channel.open(datagram, envelope, here, this.now, true);
    if (opened.kind !== 'message') return;
    const { message } = opened;
    this.received.push(message);
    const { transactionId, id } = message;
    const mapped = { mapped: { endpoint: here } };
    const flags = Flag.response;
    if (message.type === 'registrationRequest') {
      this.say({ type: 'registrationResponse', id, transactionId, flags, body: { natFlag: 0 }, options: mapped });
    } else if (message.type === 'keepAlive') {
      this.say({ type: 'ack', id, transactionId, flags, body: {}, options: mapped });
    } else if (message.type === 'directionRequest') {
      const answer = this.answer(message);
      if (answer === null) return;
      const { body, ...rest } = filled({ ...answer, flags: flags | (answer.flags ?? 0) });
      const route = { ...body, pathId: message.body.pathId };
      this.say({ type: 'routeDirection', id: route.pathId, transactionId, ...rest, body: route });
    }
  }
}

export function idOf(name: string): string {
  return Buffer.from(name).toString('hex').repeat(16).slice(0, 32);
}

function filled({ body = {}, options = {}, flags = 0 }: Answer) {
  return { body: { ...noRoute('0'.repeat(32)), ...body }, options, flags };
}
