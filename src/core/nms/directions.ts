/**
 * Route selection (protocol section 4.3): Direction Request → [TRS] → Route Direction to the Responder → its Confirmation
 * → Route Direction to the Initiator. Every refusal is an answer, so that the Initiator need not wait for a timeout.
 */

import { pathKeys, relayKey } from '../../crypto/kdf.ts';
import type { KeyPair, Primitives } from '../../crypto/primitives.ts';
import type { Device, DeviceSelector } from '../../lib/device.ts';
import type { Endpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Draft, Message, MessageOf } from '../../proto/codec.ts';
import { Flag, nameOfProcess } from '../../proto/messages.ts';
import { type Options, PredictionRole, Refusal } from '../../proto/options.ts';
import type { Sender } from '../channel.ts';
import { type Exchanges, sendAll } from '../exchange.ts';
import { Buckets } from '../limits.ts';
import type { Action } from './actions.ts';
import type { Directory, Found } from './directory.ts';
import type { Notice } from './notices.ts';
import type { DirectedPath, PathTable } from './paths.ts';
import type { PresentNode } from './presence.ts';
import type { Ranking, Relay, Relays } from './relays.ts';
import type { Replicas } from './replicas.ts';
import {
  chooseProcess,
  chooseSuite,
  needsRelay,
  noRoute,
  type Route,
  routeBody,
  routeOptions,
  shareFamily,
  startsRelayed,
} from './route.ts';

export type Direction = {
  readonly pathId: string;
  readonly initiator: PresentNode;
  readonly responder: PresentNode;
  readonly relays: Relay[];
  /** The latest request for it; repeated ones have the same Transaction ID. */
  asked: {
    readonly by: Sender;
    readonly transactionId: number;
    readonly from: Endpoint;
    readonly at: number;
    /** The relay that the initiator says is silent. */
    readonly avoid: string | null;
  };
  route: Route;
};

export type DirectionTag =
  | { readonly for: 'relay'; readonly direction: Direction; readonly relay: Relay }
  | { readonly for: 'direction'; readonly direction: Direction };

/** What a request of the NMS was for. */
export type NmsTag = DirectionTag | { readonly for: 'notice'; readonly notice: Notice };

export type DirectionsOptions = {
  readonly primitives: Primitives;
  readonly nodeId: string;
  readonly exchanges: Exchanges<NmsTag>;
  readonly directory: Directory;
  readonly paths: PathTable;
  readonly relays: Relays;
  readonly replicas: Replicas;
  /** Of the service key pair. */
  readonly keys: KeyPair;
  readonly noPortPrediction?: boolean;
  readonly present: (nodeId: string) => PresentNode | undefined;
  /** Tells a TRS that a path it was given is none. */
  readonly closeRelay: (relay: string, pathId: string, now: Now) => Action[];
};

/** A TRS that takes longer than its three transmissions (1.4 s) is passed over for the next one. */
const RELAY_TRIES = 3;
/** The Responder may need a while to bind to the TRS; the Initiator's resolver waits 4 s. */
const RESPONDER_TRIES = 5;
const MAX_OPEN = 10_000;
const MAX_OPEN_PER_NODE = 32;
/** New paths of one node to another: opening one costs that other far more than asking for it. */
const PAIR_RATE = { burst: 64, perSecond: 2 };
/** Keys of a path count as long as the certificates behind them. */
const PATH_MS = 7 * 24 * 3_600_000;
const MAX_FQDN = 253;

const nameOfRefusal = new Map<number, string>(Object.entries(Refusal).map(([name, value]) => [value, name]));
/** What a user's typing error brings about as well is no event for the log. */
const ordinary = new Set<number>([Refusal.unknownName, Refusal.offline]);

export class Directions {
  readonly #options: DirectionsOptions;
  readonly #open = new Map<string, Direction>();
  readonly #openBy = new Map<string, number>();
  /** By initiator and responder. */
  readonly #pairs = new Buckets(PAIR_RATE);

  constructor(options: DirectionsOptions) {
    this.#options = options;
  }

  /** The node whose Confirmation may carry this PathID as its ID. */
  responderOf(pathId: string): PresentNode | undefined {
    return this.#open.get(pathId)?.responder ?? this.#options.present(this.#options.paths.get(pathId)?.responder ?? '');
  }

  request(node: PresentNode, message: MessageOf<'directionRequest'>, by: Sender, from: Endpoint, now: Now): Action[] {
    const { transactionId, body } = message;
    const given = node.answers.find(by, transactionId);
    if (given === 'pending') return [{ do: 'count', name: 'duplicates' }];
    if (given !== undefined) return [{ do: 'count', name: 'duplicates' }, ...this.#send(node, given, from)];

    const avoid = message.options.avoid?.relay ?? null;
    const asked = { by, transactionId, from, at: now.ms, avoid };
    node.answers.remember(by, transactionId, 'pending', now);
    const selector = selectorOf(message);
    if (node.revoked) return this.#refuse(node, body.pathId, asked, Refusal.disabled, now);
    if (selector === null) return this.#refuse(node, body.pathId, asked, Refusal.unknownName, now);
    const { directory, replicas } = this.#options;
    return directory.find(selector, true, now, (found, later) => {
      const resolve = (last: Now): Action[] => this.#resolved(node, body.pathId, asked, found, last);
      return found === null || found === 'busy' ? resolve(later) : replicas.refresh(found, later, resolve);
    });
  }

  /** The answer to a Relay Request. */
  relayAnswered({ direction, relay }: { direction: Direction; relay: Relay }, message: Message, now: Now): Action[] {
    if (!this.#isOpen(direction)) return this.#options.closeRelay(relay.service.nodeId, direction.pathId, now);
    if (message.type === 'relayResponse' && (message.flags & Flag.failure) === 0) {
      direction.route = { ...direction.route, relay: relay.service };
      return this.#askResponder(direction, now);
    }
    const reason = message.options.refusal?.reason;
    if (reason === Refusal.pathIdInUse) return this.#fail(direction, reason, now);
    return this.#askRelay(direction, now);
  }

  /** The Responder's Confirmation. */
  confirmed(direction: Direction, message: Message, now: Now): Action[] {
    if (!this.#isOpen(direction)) return [];
    if (message.type !== 'routeDirectionConfirmation' || message.id !== direction.pathId) {
      return this.#fail(direction, Refusal.offline, now);
    }
    if ((message.flags & Flag.failure) !== 0) {
      return this.#fail(direction, message.options.refusal?.reason ?? Refusal.policy, now);
    }
    const { pathId, initiator, responder, route, asked } = direction;
    const answer: Draft = {
      type: 'routeDirection',
      id: pathId,
      transactionId: asked.transactionId,
      flags: Flag.response,
      body: routeBody(route, now),
      options: this.#optionsFor(route, responder, now),
    };
    const ends = { initiator: initiator.nodeId, responder: responder.nodeId };
    const relay = route.relay?.nodeId ?? null;
    this.#close(direction);
    this.#options.paths.add({ pathId, ...ends, relay, answer, until: now.ms + PATH_MS });
    const name = `directed-${nameOfProcess(route.processCode)}`;
    const connected = this.#options.replicas.connect(ends.initiator, ends.responder);
    return [{ do: 'count', name, ms: now.ms - asked.at }, ...this.#answer(initiator, asked, answer, now), ...connected];
  }

  /** A request of ours that was never answered. */
  failed(tag: DirectionTag, now: Now): Action[] {
    if (!this.#isOpen(tag.direction)) return [];
    if (tag.for === 'direction') return this.#fail(tag.direction, Refusal.offline, now);
    const { exchanges, relays } = this.#options;
    relays.silent(tag.relay, now);
    const waiting = [tag.direction];
    // Others need not find out for themselves.
    if (tag.relay.downUntil > now.ms) {
      exchanges.cancel((other) => {
        const waits = other.for === 'relay' && other.relay === tag.relay;
        if (waits) waiting.push(other.direction);
        return waits;
      });
    }
    return waiting
      .filter((direction) => this.#isOpen(direction))
      .flatMap((direction) => this.#askRelay(direction, now));
  }

  /** Gives up everything under way from or to a node. */
  abandon(node: PresentNode, now: Now): Action[] {
    const of = [...this.#open.values()].filter((d) => d.initiator === node || d.responder === node);
    this.#options.exchanges.cancel((tag) => tag.for !== 'notice' && of.includes(tag.direction));
    return of.flatMap((direction) => this.#fail(direction, node.revoked ? Refusal.disabled : Refusal.offline, now));
  }

  #resolved(node: PresentNode, pathId: string, asked: Direction['asked'], found: Found, now: Now): Action[] {
    const refuse = (reason: Refusal, more?: Options): Action[] => this.#refuse(node, pathId, asked, reason, now, more);
    if (found === 'busy') return refuse(Refusal.overloaded);
    if (found === null) return refuse(Refusal.unknownName);
    if (node.revoked || found.state === 'disabled') return refuse(Refusal.disabled);
    if (found.nodeId === node.nodeId) return refuse(Refusal.policy);
    const responder = this.#options.present(found.nodeId);
    if (!mayTalk(found) || !mayTalk(node.device) || responder?.present !== true || responder.revoked) {
      // By its certificate who stored a path to it sees whether its keys are still the same.
      return refuse(
        Refusal.offline,
        found.certificate === null ? {} : { certificate: { certificate: found.certificate } },
      );
    }

    const used = this.#open.get(pathId) ?? this.#options.paths.get(pathId);
    if (used !== undefined) return this.#again(used, node, responder, asked, now) ?? refuse(Refusal.pathIdInUse);
    const suite = chooseSuite(node.suites, responder.suites);
    if (suite === null) return refuse(Refusal.suite);
    const openByNode = this.#openBy.get(node.nodeId) ?? 0;
    if (this.#open.size >= MAX_OPEN || openByNode >= MAX_OPEN_PER_NODE) return refuse(Refusal.overloaded);
    if (!this.#pairs.take(`${node.nodeId} ${responder.nodeId}`, now.ms)) return refuse(Refusal.overloaded);

    const { keys, primitives, relays, paths } = this.#options;
    const ends = [node, responder];
    const pair: Ranking = {
      usable: (service) => ends.every((end) => shareFamily(end, service, now)),
      distance: (service) => ends.reduce((sum, end) => sum + end.distanceTo(service), 0),
      load: ({ nodeId }) => paths.relayedBy(nodeId),
    };
    const ranked = relays
      .ranked(pair, now)
      .sort((a, b) => Number(a.service.nodeId === asked.avoid) - Number(b.service.nodeId === asked.avoid));
    const route: Route = {
      pathId,
      initiator: node,
      responder,
      processCode: chooseProcess(node, responder, ranked.length > 0, now),
      suite,
      ...pathKeys(primitives, keys.privateKey, pathId, node.device, responder.device),
      expires: new Date(now.wall + PATH_MS).toISOString().slice(0, 10),
      relay: null,
    };
    // A pair that can do without does not wait for a TRS that was silent just now.
    const worthwhile = startsRelayed(route.processCode) ? ranked : ranked.filter((relay) => relay.downUntil <= now.ms);
    const direction: Direction = { pathId, initiator: node, responder, relays: worthwhile, asked, route };
    this.#open.set(pathId, direction);
    this.#openBy.set(node.nodeId, openByNode + 1);
    return this.#askRelay(direction, now);
  }

  /** A PathID that is taken: by the same pair, then it is the same path; null = by others. */
  #again(
    used: Direction | DirectedPath,
    node: PresentNode,
    responder: PresentNode,
    asked: Direction['asked'],
    now: Now,
  ): Action[] | null {
    if ('route' in used) {
      if (used.initiator !== node || used.responder !== responder) return null;
      used.asked = { ...asked, at: used.asked.at };
      return [];
    }
    if (used.initiator !== node.nodeId || used.responder !== responder.nodeId) return null;
    return this.#answer(node, asked, { ...used.answer, transactionId: asked.transactionId }, now);
  }

  #askRelay(direction: Direction, now: Now): Action[] {
    const { exchanges, nodeId, primitives } = this.#options;
    const relay = direction.relays.shift();
    const { route, pathId, initiator, responder } = direction;
    if (relay === undefined) {
      if (needsRelay(route.processCode)) return this.#fail(direction, Refusal.noRelay, now);
      direction.route = { ...route, processCode: chooseProcess(initiator, responder, false, now) };
      return this.#askResponder(direction, now);
    }
    const request = {
      type: 'relayRequest',
      id: nodeId,
      body: { pathId, cipherType: route.suite, tunnelKey: relayKey(primitives, route.tunnelKey) },
      options: { relayEnds: { initiator: initiator.nodeId, responder: responder.nodeId } },
    } as const;
    return exchanges.start(relay.channel, request, relay.endpoint, { for: 'relay', direction, relay }, now, {
      tries: RELAY_TRIES,
    });
  }

  #optionsFor(route: Route, peer: PresentNode, now: Now): Options {
    const options = routeOptions(route, peer, now);
    if (this.#options.noPortPrediction !== true) return options;
    return { ...options, portPrediction: { role: PredictionRole.neither } };
  }

  #askResponder(direction: Direction, now: Now): Action[] {
    const { responder, initiator, route } = direction;
    const endpoint = responder.endpoint();
    if (responder.channel === null || endpoint === null) return this.#fail(direction, Refusal.offline, now);
    const request = {
      type: 'routeDirection',
      id: responder.nodeId,
      body: routeBody(route, now),
      options: this.#optionsFor(route, initiator, now),
    } as const;
    const tag = { for: 'direction', direction } as const;
    return this.#options.exchanges.start(responder.channel, request, endpoint, tag, now, { tries: RESPONDER_TRIES });
  }

  #fail(direction: Direction, reason: number, now: Now): Action[] {
    const { initiator, pathId, asked, route } = direction;
    this.#close(direction);
    const closing = route.relay === null ? [] : this.#options.closeRelay(route.relay.nodeId, pathId, now);
    return [...closing, ...this.#refuse(initiator, pathId, asked, reason, now)];
  }

  #refuse(
    node: PresentNode,
    pathId: string,
    asked: Direction['asked'],
    reason: number,
    now: Now,
    more: Options = {},
  ): Action[] {
    const name = nameOfRefusal.get(reason) ?? String(reason);
    const answer: Draft = {
      type: 'routeDirection',
      id: pathId,
      transactionId: asked.transactionId,
      flags: Flag.response | Flag.failure,
      body: noRoute(pathId),
      options: { ...more, refusal: { reason } },
    };
    const said: Action[] = [{ do: 'count', name: `directions-refused-${name}` }];
    if (!ordinary.has(reason)) {
      const drop = reason === Refusal.pathIdInUse ? 'path-in-use' : 'direction-refused';
      said.push({ do: 'drop', reason: drop, from: asked.from });
      said.push({
        do: 'log',
        level: 'info',
        message: 'direction refused',
        fields: { by: node.device.fqdn, reason: name },
      });
    }
    return [...said, ...this.#answer(node, asked, answer, now)];
  }

  #answer(node: PresentNode, asked: Direction['asked'], answer: Draft, now: Now): Action[] {
    node.answers.remember(asked.by, asked.transactionId, answer, now);
    return this.#send(node, answer, asked.from);
  }

  #send(node: PresentNode, answer: Draft, to: Endpoint): Action[] {
    return sendAll(node.channel?.seal(answer) ?? [], to);
  }

  #isOpen(direction: Direction): boolean {
    return this.#open.get(direction.pathId) === direction;
  }

  #close(direction: Direction): void {
    if (!this.#isOpen(direction)) return;
    this.#open.delete(direction.pathId);
    const { nodeId } = direction.initiator;
    const left = (this.#openBy.get(nodeId) ?? 1) - 1;
    if (left === 0) this.#openBy.delete(nodeId);
    else this.#openBy.set(nodeId, left);
  }
}

/** Never a device without pinned keys, or without a certificate that names them. */
function mayTalk({ signKey, handshakeKey, certificate }: Device): boolean {
  return signKey !== null && handshakeKey !== null && certificate !== null;
}

function selectorOf({ body, options }: MessageOf<'directionRequest'>): DeviceSelector | null {
  if (body.fqdn === '') {
    const address = options.virtualAddress?.address ?? null;
    return address === null ? null : { by: 'vip', value: address };
  }
  const name = body.fqdn.toLowerCase().replace(/\.$/, '');
  return name.length > MAX_FQDN ? null : { by: 'fqdn', value: name };
}
