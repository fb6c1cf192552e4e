/**
 * The AS (protocol sections 2.1, 2.4 and 4.1): accepts or refuses logins. A connection is named by its remote endpoint;
 * one login is one function that reads from top to bottom and pauses where it needs the register or a password hash.
 */

import type { Certificate, CertificateContent } from '../../crypto/certificate.ts';
import { verifyLogin } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import {
  type Device,
  isDeviceId,
  type Network,
  type RegisterAnswer,
  type SaveResult,
  type Service,
} from '../../lib/device.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { formatMac } from '../../lib/mac.ts';
import type { Now } from '../../lib/time.ts';
import { decodePlain, type MessageOf } from '../../proto/codec.ts';
import { CERTIFICATE_DAYS } from '../../proto/constants.ts';
import { AuthType } from '../../proto/messages.ts';
import { Refusal } from '../../proto/options.ts';
import type { Action } from '../actions.ts';
import { Buckets, siteOf } from '../limits.ts';
import type { Machine } from '../machine.ts';
import { judgeCertificate } from './device-certificate.ts';
import { Lines, sourceOf } from './lines.ts';
import { type AsAction, loadCredentials, loadDevice, loadServices, type Reply, type Steps } from './questions.ts';
import { acceptance, refusal, type StreamPlace, streamsOf } from './response.ts';
import { judge } from './verdict.ts';

type Actions = (Action | AsAction)[];
type HashAction = Extract<AsAction, { do: 'hash' }>;

export type AsOptions = {
  readonly primitives: Primitives;
  readonly network: Network;
  /** Signs a certificate with the network's CA key, which the machine itself never sees. */
  readonly issue: (content: CertificateContent) => Certificate;
  /** PEM of the root under which adapters speak TLS to their general nodes. */
  readonly tlsRoot: string;
};

type Connection = {
  readonly endpoint: Endpoint;
  /** TLS exporter value that login signatures on this connection cover. */
  readonly exporter: Uint8Array;
  /** DeviceID of the device that proved its identity here: an adapter then brings in its general nodes. */
  proven: string | null;
  /** Transaction IDs of logins in progress. */
  readonly running: Set<number>;
  /** Answered logins that wait for their ACK, by Transaction ID. */
  readonly answered: Map<
    number,
    { readonly deviceId: string; readonly nodeId: string; readonly commonKey: Uint8Array }
  >;
  /** When it is closed (ms) unless something is received. */
  deadline: number;
};

type LoginRequest = MessageOf<'loginRequest'>;
type Login = { readonly connection: Connection; readonly request: LoginRequest; readonly began: number; now: Now };

/** From connecting to the first accepted login (ms). */
const LOGIN_MS = 30_000;
/** Afterwards, between two messages (ms). */
const IDLE_MS = 60_000;
const CHECK_INTERVAL_MS = 1_000;
const MAX_RUNNING = 32;
const MAX_ANSWERED = 256;
/** Password hashes computed at once (protocol section 2.4). */
const HASHES_AT_ONCE = 2;
/** Those that wait; at 0.2 s each nobody does for longer than a few seconds. */
const MAX_WAITING = 30;
/** Logins of one address. Those that succeed do not count, so that a site behind one NAT can come back at once. */
const ADDRESS_RATE = { burst: 256, perSecond: 4 };
/** Guesses at one DeviceID's secret by strangers, or by one adapter; devices with pinned keys do not need it. */
const DEVICE_RATE = { burst: 10, perSecond: 0.2 };

/** Whoever overloads us does not fill our log as well (ms). */
const OVERLOAD_LINE_MS = 10_000;

const refusalNames = Object.fromEntries(Object.entries(Refusal).map(([name, value]) => [value, name]));

export class AsMachine implements Machine<AsAction> {
  readonly #options: AsOptions;
  readonly #connections = new Map<string, Connection>();
  readonly #logins = new Map<number, { readonly login: Login; readonly steps: Steps<Actions> }>();
  /** Acknowledgements that are being saved, by ticket. */
  readonly #acknowledging = new Map<number, { readonly deviceId: string }>();
  readonly #addresses = new Buckets(ADDRESS_RATE);
  readonly #devices = new Buckets(DEVICE_RATE);
  readonly #waiting: Lines<HashAction>;
  /** Replicas of TRSs that announce themselves. */
  #relays: readonly StreamPlace[] = [];
  #hashes = 0;
  /** No further line about overload before then (ms). */
  #quietUntil = 0;
  #lastTicket = 0;

  constructor(options: AsOptions) {
    this.#options = options;
    this.#waiting = new Lines(MAX_WAITING, (bound) => options.primitives.random(1)[0]! % bound);
  }

  /** Sizes, for reports and for tests of the bounds. */
  get sizes(): Readonly<Record<'connections' | 'unfinished' | 'logins' | 'hashes', number>> {
    const all = [...this.#connections.values()];
    const unfinished = all.filter(
      ({ proven, running, answered }) => proven === null || running.size + answered.size > 0,
    );
    const connections = all.length;
    return {
      connections,
      unfinished: unfinished.length,
      logins: this.#logins.size,
      hashes: this.#hashes + this.#waiting.size,
    };
  }

  /** A TLS handshake was completed. */
  connected(endpoint: Endpoint, exporter: Uint8Array, now: Now): Actions {
    const deadline = now.ms + LOGIN_MS;
    const connection = { endpoint, exporter, proven: null, running: new Set<number>(), answered: new Map(), deadline };
    this.#connections.set(formatEndpoint(endpoint), connection);
    return this.#connections.size === 1 ? [{ do: 'wake', at: now.ms + CHECK_INTERVAL_MS }] : [];
  }

  closed(endpoint: Endpoint): Actions {
    this.#connections.delete(formatEndpoint(endpoint));
    return [];
  }

  relaysPresent(replicas: readonly StreamPlace[]): Actions {
    this.#relays = replicas;
    return [];
  }

  /** One whole message of a connection. */
  receive(octets: Uint8Array, from: Endpoint, now: Now): Actions {
    const connection = this.#connections.get(formatEndpoint(from));
    if (connection === undefined) return [];
    const message = decodePlain(octets);
    if (typeof message === 'string') return this.#abandon(connection, message);
    if (connection.proven !== null) connection.deadline = now.ms + IDLE_MS;
    if (message.type === 'loginRequest') return this.#begin(connection, message, now);
    if (message.type === 'ack') return this.#acknowledge(connection, message);
    return this.#abandon(connection, 'unexpected');
  }

  loaded(ticket: number, answer: RegisterAnswer | null, now: Now): Actions {
    return this.#resume(ticket, answer, now);
  }

  hashed(ticket: number, matches: boolean, now: Now): Actions {
    this.#hashes--;
    return [...this.#resume(ticket, matches, now), ...this.#nextHash()];
  }

  saved(ticket: number, result: SaveResult | null, now: Now): Actions {
    const acknowledged = this.#acknowledging.get(ticket);
    if (acknowledged === undefined) return this.#resume(ticket, result, now);
    this.#acknowledging.delete(ticket);
    if (result === 'saved') return [{ do: 'count', name: 'login-acknowledged' }];
    // The device goes on with what it has and acknowledges its next login.
    return [{ do: 'log', level: 'warn', message: 'login not acknowledged', fields: { ...acknowledged, result } }];
  }

  tick(now: Now): Actions {
    const actions: Actions = [];
    for (const connection of this.#connections.values()) {
      if (connection.deadline > now.ms || connection.running.size > 0) continue;
      actions.push({ do: 'count', name: 'connection-timeout' }, ...this.#close(connection));
    }
    if (this.#connections.size > 0) actions.push({ do: 'wake', at: now.ms + CHECK_INTERVAL_MS });
    return actions;
  }

  #close(connection: Connection): Actions {
    this.#connections.delete(formatEndpoint(connection.endpoint));
    return [{ do: 'close', connection: connection.endpoint }];
  }

  #abandon(connection: Connection, reason: Extract<Action, { do: 'drop' }>['reason']): Actions {
    return [{ do: 'drop', reason, from: connection.endpoint }, ...this.#close(connection)];
  }

  #begin(connection: Connection, request: LoginRequest, now: Now): Actions {
    const { running } = connection;
    if (running.has(request.transactionId) || running.size >= MAX_RUNNING)
      return this.#abandon(connection, 'unexpected');
    running.add(request.transactionId);
    const login = { connection, request, began: now.ms, now };
    return this.#advance(login, this.#login(login), null);
  }

  #resume(ticket: number, reply: Reply, now: Now): Actions {
    const waiting = this.#logins.get(ticket);
    if (waiting === undefined) return [];
    this.#logins.delete(ticket);
    const { login } = waiting;
    if (!this.#isOpen(login)) return [];
    login.now = now;
    return this.#advance(login, waiting.steps, reply);
  }

  #advance(login: Login, steps: Steps<Actions>, reply: Reply): Actions {
    const step = steps.next(reply);
    if (step.done) {
      login.connection.running.delete(login.request.transactionId);
      return step.value;
    }
    const ticket = ++this.#lastTicket;
    this.#logins.set(ticket, { login, steps });
    const question = step.value(ticket);
    return question.do === 'hash' ? this.#queue(question, login) : [question];
  }

  /** A hash waits in the line of where it comes from: the AS is busy with nobody alone. */
  #queue(question: HashAction, { connection, now }: Login): Actions {
    const gone = this.#waiting.add(connection.proven ?? sourceOf(connection.endpoint), question);
    return [...(gone === null ? [] : this.#resume(gone.ticket, null, now)), ...this.#nextHash()];
  }

  #nextHash(): Actions {
    const begun: Actions = [];
    while (this.#hashes < HASHES_AT_ONCE) {
      const next = this.#waiting.next();
      if (next === null) break;
      // Its connection may have ended meanwhile.
      if (this.#isOpen(this.#logins.get(next.ticket)!.login)) {
        this.#hashes++;
        begun.push(next);
      } else this.#logins.delete(next.ticket);
    }
    return begun;
  }

  #isOpen({ connection }: Login): boolean {
    return this.#connections.get(formatEndpoint(connection.endpoint)) === connection;
  }

  *#login(login: Login): Steps<Actions> {
    const { connection, request } = login;
    const { primitives } = this.#options;
    const { deviceId, authType, password } = request.body;
    const address = siteOf(connection.endpoint);

    // An adapter that proved itself brings in hundreds of devices at once.
    const stranger = connection.proven === null;
    if (stranger && !this.#addresses.take(address, login.now.ms)) return this.#refuse(login, Refusal.overloaded);
    const keys = request.options.identity;
    if (
      keys === undefined ||
      !isDeviceId(deviceId) ||
      !verifyLogin(primitives, keys, connection.exporter, keys.signature)
    ) {
      return this.#refuse(login, Refusal.badCredentials);
    }

    // The same questions for every DeviceID, so that neither answer nor time tells whether there is such a device.
    const device = yield* loadDevice(deviceId);
    const credentials = yield* loadCredentials(deviceId);
    const adapter = connection.proven === null ? null : yield* loadDevice(connection.proven);
    if (device === undefined || credentials === undefined || adapter === undefined) {
      return this.#refuse(login, Refusal.overloaded);
    }
    let passwordMatches = false;
    // Nobody else's guesses keep an adapter from bringing in its own.
    const guessed = `${connection.proven ?? ''} ${deviceId.toLowerCase()}`;
    if (authType === AuthType.password) {
      if (!this.#devices.take(guessed, login.now.ms)) return this.#refuse(login, Refusal.overloaded);
      const hash = credentials?.secretHash ?? null;
      const matches = yield (ticket) => ({ do: 'hash', ticket, password, hash });
      if (matches === null) {
        this.#devices.giveBack(guessed);
        return this.#refuse(login, Refusal.overloaded);
      }
      passwordMatches = matches === true;
    }

    const mac = authType === AuthType.mac && password.length === 6 ? formatMac(password) : null;
    const { wall } = login.now;
    const shown = authType === AuthType.certificate ? request.body.certificate : null;
    const trust = { trustedCa: credentials?.trustedCa ?? null, tlsRoot: this.#options.tlsRoot };
    const certificateFault = judgeCertificate(shown, device, adapter, trust, wall);
    const proven = { passwordMatches, certificateFault, mac };
    const verdict = judge({ authType, keys, device, credentials, ...proven, adapter, wall });
    if ('refuse' in verdict) return this.#refuse(login, verdict.refuse);

    const services = yield* loadServices();
    const nms = services?.filter((service) => service.role === 'nms');
    if (nms === undefined || nms.length === 0) return this.#refuse(login, Refusal.overloaded);
    const certificate = this.#issue(verdict.device, keys, login.now);
    const commonKey = primitives.random(32);
    const keyExpires = certificate.notAfter * 1000;
    const result = yield (ticket) => ({
      do: 'save',
      ticket,
      change: {
        set: 'login',
        deviceId,
        mayPin: verdict.mayPin,
        signKey: keys.signKey,
        handshakeKey: keys.handshakeKey,
        certificate: certificate.octets,
        pendingCommonKey: commonKey,
        keyExpires,
      },
    });
    // Between loading and saving somebody may have pinned other keys, disabled or removed the device, or stopped the register.
    if (result === 'conflict') return this.#refuse(login, Refusal.keyMismatch);
    if (result === 'unknown-device') return this.#refuse(login, Refusal.badCredentials);
    if (result !== 'saved') return this.#refuse(login, Refusal.overloaded);

    if (stranger) this.#addresses.giveBack(address);
    if (authType === AuthType.password) this.#devices.giveBack(guessed);
    const chosen = nms[primitives.random(1)[0]! % nms.length]!;
    return this.#accept(
      login,
      verdict.device,
      certificate,
      commonKey,
      chosen,
      streamsOf([...(services ?? []), ...this.#relays]),
    );
  }

  #issue(device: Device, keys: { signKey: Uint8Array; handshakeKey: Uint8Array }, now: Now): Certificate {
    const { nodeId, fqdn, vip4, vip6, groups } = device;
    const { signKey, handshakeKey } = keys;
    const notBefore = Math.floor(now.wall / 1000);
    const notAfter = notBefore + CERTIFICATE_DAYS * 86_400;
    return this.#options.issue({ nodeId, fqdn, vip4, vip6, groups, signKey, handshakeKey, notBefore, notAfter });
  }

  #accept(
    login: Login,
    device: Device,
    certificate: Certificate,
    commonKey: Uint8Array,
    nms: Service,
    streams: readonly Endpoint[],
  ): Actions {
    const { connection, request, now } = login;
    const { deviceId, nodeId } = device;
    if (device.kind !== 'general') connection.proven = deviceId;
    connection.deadline = now.ms + IDLE_MS;
    connection.answered.set(request.transactionId, { deviceId, nodeId, commonKey });
    if (connection.answered.size > MAX_ANSWERED) connection.answered.delete(connection.answered.keys().next().value!);
    const { network } = this.#options;
    const datagram = acceptance(request.transactionId, device, network, certificate, commonKey, nms, streams);
    return [
      { do: 'count', name: 'login-accepted', ms: now.ms - login.began },
      {
        do: 'log',
        level: 'info',
        message: 'login accepted',
        fields: { deviceId, from: formatEndpoint(connection.endpoint) },
      },
      { do: 'believe', connection: connection.endpoint },
      { do: 'send', to: connection.endpoint, datagram },
    ];
  }

  #refuse(login: Login, reason: Refusal): Actions {
    const { connection, request, now } = login;
    const quiet = reason === Refusal.overloaded && now.ms < this.#quietUntil;
    if (reason === Refusal.overloaded && !quiet) this.#quietUntil = now.ms + OVERLOAD_LINE_MS;
    const fields = {
      deviceId: request.body.deviceId.slice(0, 64),
      reason: refusalNames[reason],
      from: formatEndpoint(connection.endpoint),
    };
    return [
      { do: 'count', name: `login-refused-${fields.reason}` },
      { do: 'log', level: quiet ? 'debug' : 'warn', message: 'login refused', fields },
      { do: 'send', to: connection.endpoint, datagram: refusal(request.transactionId, reason) },
      // Others on the connection of a proven adapter go on.
      ...(connection.proven === null ? this.#close(connection) : []),
    ];
  }

  /** The device has its session on disk: the new key counts from now on. */
  #acknowledge(connection: Connection, message: MessageOf<'ack'>): Actions {
    const answered = connection.answered.get(message.transactionId);
    if (answered === undefined || answered.nodeId !== message.id) return this.#abandon(connection, 'unexpected');
    connection.answered.delete(message.transactionId);
    const { deviceId, commonKey } = answered;
    const ticket = ++this.#lastTicket;
    this.#acknowledging.set(ticket, { deviceId });
    return [{ do: 'save', ticket, change: { set: 'acknowledged', deviceId, commonKey } }];
  }
}
