/** A node as the cloud sees it: registers, asks for directions, confirms those of others, binds to relays. */

import { Channel } from '../../../src/core/channel.ts';
import { Exchanges, type Request } from '../../../src/core/exchange.ts';
import { relayKey } from '../../../src/crypto/kdf.ts';
import type { Primitives } from '../../../src/crypto/primitives.ts';
import type { Device } from '../../../src/lib/device.ts';
import { type Endpoint, familyOf } from '../../../src/lib/ip.ts';
import type { Now } from '../../../src/lib/time.ts';
import { type Message, type MessageOf, readEnvelope } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { Flag } from '../../../src/proto/messages.ts';
import { type Candidate, type Options, type RelayTime, SenderKind } from '../../../src/proto/options.ts';

type Direction = MessageOf<'routeDirection'>;

/** What a node stands on: the clock, the network, and primitives by name. */
export type Host = {
  readonly now: Now;
  primitives(name: string): Primitives;
  send(from: Endpoint, to: Endpoint, datagram: Uint8Array): void;
};

export class FakeNode {
  readonly #host: Host;
  readonly device: Device;
  real: Endpoint;
  mapped: Endpoint;
  readonly nms: Endpoint;
  channel: Channel;
  exchanges: Exchanges<string>;
  /** Answers by the tag of their request; absent while there is none. */
  readonly answers = new Map<string, Message>();
  readonly failed: string[] = [];
  readonly notices: { reason: number; subject: string }[] = [];
  /** Route Directions received as Responder. */
  readonly directed: Direction[] = [];
  /** What the Confirmation says; null = none is sent. */
  confirm: { flags: number; options: Options } | null = { flags: Flag.response, options: {} };
  hosts: Candidate[] = [];
  relayTimes: RelayTime[] = [];
  suites = (1 << Suite.aes256Gcm) | (1 << Suite.chacha20Poly1305);
  readonly #paths = new Map<string, Channel>();
  #lives = 0;
  #requests = 0;

  constructor(host: Host, device: Device, real: Endpoint, mapped: Endpoint, nms: Endpoint) {
    this.#host = host;
    this.device = device;
    this.real = real;
    this.mapped = mapped;
    this.nms = nms;
    this.exchanges = new Exchanges(host.primitives(`${device.deviceId} exchanges`));
    this.channel = this.restart();
  }

  /** A new life, with another Common Key if one is given. */
  restart(commonKey = this.device.commonKey!): Channel {
    const primitives = this.#host.primitives(`${this.device.deviceId} ${++this.#lives}`);
    this.channel = this.#channelOf(
      commonKey,
      this.device.nodeId,
      SenderKind.node,
      SenderKind.nms,
      primitives.random(16),
    );
    return this.channel;
  }

  register(flags = 0): Message | undefined {
    return this.request({
      type: 'registrationRequest',
      id: this.device.nodeId,
      flags,
      body: {
        port: this.real.port,
        notificationType: 0,
        node4: familyOf(this.real.address) === 4 ? this.real.address : null,
        node6: familyOf(this.real.address) === 6 ? this.real.address : null,
      },
      options: {
        candidates: { list: this.hosts },
        suites: { mask: this.suites },
        relayTimes: { list: this.relayTimes },
      },
    });
  }

  keepAlive(): Message | undefined {
    return this.request({ type: 'keepAlive', id: this.device.nodeId, body: {} });
  }

  direct(fqdn: string, pathId: string, options: Options = {}): Message | undefined {
    const body = { applicationId: '0'.repeat(32), pathId, fqdn, certificate: new Uint8Array(0) };
    return this.request({ type: 'directionRequest', id: this.device.nodeId, body, options });
  }

  /** The answer, if it came at once. */
  request(request: Request, to = this.nms, channel = this.channel): Message | undefined {
    const tag = `${request.type} ${++this.#requests}`;
    this.#send(this.exchanges.start(channel, request, to, tag, this.#host.now));
    return this.answers.get(tag);
  }

  /** The answer to the latest request. */
  get latest(): Message | undefined {
    return [...this.answers].find(([tag]) => tag.endsWith(` ${this.#requests}`))?.[1];
  }

  /** The channel to the relay of a path this node was directed to. */
  path(direction: Direction, kind: SenderKind): Channel {
    const { pathId } = direction.body;
    const known = this.#paths.get(pathId);
    if (known !== undefined) return known;
    const primitives = this.#host.primitives(`${this.device.deviceId} ${pathId}`);
    const key = relayKey(primitives, direction.body.tunnelKey);
    const channel = this.#channelOf(key, pathId, kind, SenderKind.trs, primitives.random(16));
    this.#paths.set(pathId, channel);
    return channel;
  }

  /** Binds to a relay; the answer, if there was one. */
  bind(direction: Direction, kind: SenderKind, relay: Endpoint): Message | undefined {
    const channel = this.path(direction, kind);
    return this.request({ type: 'keepAlive', id: direction.body.pathId, body: {} }, relay, channel);
  }

  receive(datagram: Uint8Array, from: Endpoint): void {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') throw new RangeError(envelope);
    const { now } = this.#host;
    const answersUs = this.exchanges.expects(envelope.transactionId, from);
    for (const channel of [...this.#paths.values(), this.channel]) {
      const opened = channel.open(datagram, envelope, from, now, answersUs);
      if (opened.kind === 'challenge') this.#send(opened.datagrams.map((d) => ({ do: 'send', to: from, datagram: d })));
      if (opened.kind === 'message') this.#said(opened.message, from, channel);
      if (opened.kind !== 'drop') return;
    }
  }

  tick(): void {
    const { actions, failed } = this.exchanges.tick(this.#host.now);
    this.#send(actions);
    this.failed.push(...failed);
  }

  #said(message: Message, from: Endpoint, channel: Channel): void {
    const answer = this.exchanges.answer(message, from, this.#host.now);
    if (answer !== null) {
      if ('settled' in answer) this.answers.set(answer.settled, message);
      else this.#send(answer.actions);
      return;
    }
    const { transactionId, id } = message;
    if (message.type === 'notice') {
      this.notices.push(message.body);
      this.#seal(channel, { type: 'ack', id, transactionId, flags: Flag.response, body: {} }, from);
    }
    if (message.type !== 'routeDirection' || (message.flags & Flag.response) !== 0) return;
    this.directed.push(message);
    const { pathId } = message.body;
    if (this.confirm !== null) {
      this.#seal(
        channel,
        { type: 'routeDirectionConfirmation', id: pathId, transactionId, body: {}, ...this.confirm },
        from,
      );
    }
  }

  #seal(channel: Channel, draft: Parameters<Channel['seal']>[0], to: Endpoint): void {
    this.#send(channel.seal(draft).map((datagram) => ({ do: 'send', to, datagram })));
  }

  #send(actions: readonly { readonly do: string; readonly to?: Endpoint; readonly datagram?: Uint8Array }[]): void {
    for (const { to, datagram } of actions) this.#host.send(this.mapped, to!, datagram!);
  }

  #channelOf(baseKey: Uint8Array, id: string, own: SenderKind, peer: SenderKind, instance: Uint8Array): Channel {
    return new Channel({
      primitives: this.#host.primitives(`${this.device.deviceId} ${id} ${this.#lives}`),
      suite: Suite.aes256Gcm,
      baseKey,
      id,
      own: { kind: own, instance: instance.toHex() },
      accept: new Map([[peer, 4]]),
      proveAddress: false,
      freshKey: false,
    });
  }
}
