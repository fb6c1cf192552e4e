/**
 * The daemon of a node or adapter, wiring only: login, data plane, state machine, interface, resolver, control socket. Everything that
 * was set up is undone in reverse order, on an orderly stop and when starting fails half-way.
 */

import type { Session } from '../../core/node/types.ts';
import { generateIdentity } from '../../crypto/identity.ts';
import { nodePrimitives } from '../../crypto/node.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { decodeToken, type EnrolmentToken } from '../../crypto/token.ts';
import { sameOctets } from '../../lib/bytes.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { createLog, type Log } from '../../lib/log.ts';
import { readClock } from '../../sys/clock.ts';
import { evpAead } from '../../sys/evp.ts';
import { hkdf } from '../../sys/hkdf.ts';
import { lockState } from '../../sys/lock.ts';
import { releaseUnused } from '../../sys/memory.ts';
import { notifyReady } from '../../sys/notify.ts';
import { closeTun, openTun } from '../../sys/tun.ts';
import { closeUdp, openUdp } from '../../sys/udp.ts';
import type { Context } from '../context.ts';
import { type MetricsAddress, startTelemetry } from '../telemetry.ts';
import { type ControlRequest, serveControl } from './control-socket.ts';
import type { Extension } from './extension.ts';
import { LiveNode, type LiveStatus, type MemberSettings } from './live.ts';
import { logIn } from './login.ts';
import { observeNode } from './observe.ts';
import { createStateDirectory, type DaemonState, loadState, saveState } from './state.ts';
import { buildStatus } from './status.ts';

/** After this long a daemon has what it needs, and gives back what only starting did. */
const SETTLED_MS = 2_000;

export type DaemonOptions = MemberSettings & {
  readonly token: string | null;
  /** Password of the first login where the token carries no secret. */
  readonly password: Uint8Array | null;
  readonly verbose: boolean;
  /** Where metrics and health are served. */
  readonly metrics: MetricsAddress;
};

const LOGIN_RETRY_MIN_MS = 1_000;
const LOGIN_RETRY_MAX_MS = 30_000;
/** A stored session this old is renewed as soon as the daemon runs. */
const RENEW_AFTER_MS = 24 * 3_600_000;

/** `extension`: what makes an adapter of a node. */
export async function runMember(
  options: DaemonOptions,
  context: Context,
  extension: Extension | null = null,
): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const log = createLog(extension?.role ?? 'node', options.verbose ? 'debug' : 'info');
  createStateDirectory(options.state);
  const lock = lockState(options.state);
  cleanup.defer(() => lock.release());
  const primitives = nodePrimitives(evpAead, hkdf);
  const daemon = new Daemon(options, enrol(options, primitives), primitives, log, extension);

  const ended = Promise.withResolvers<void>();
  void context.stopped.then(() => ended.resolve());
  daemon.onEnd = (error) => (error === null ? ended.resolve() : ended.reject(error));
  const control = await serveControl(options.state, (request) => daemon.answer(request), log);
  cleanup.defer(() => control.close());
  cleanup.defer(() => daemon.close());

  const telemetry = await startTelemetry({ address: options.metrics, byDefault: false, log });
  cleanup.defer(() => telemetry.stop());
  telemetry.serving([observeNode(() => daemon.status, extension?.role)]);
  const online = daemon.start().then((line) => {
    context.print(line);
    setTimeout(releaseUnused, SETTLED_MS).unref();
    notifyReady(context.env.NOTIFY_SOCKET);
  });
  // A failed start ends the daemon; a stop while it starts ends it as well.
  await Promise.race([online.then(() => ended.promise), ended.promise]);
}

/** The stored state, or a new one made from the token. */
function enrol(options: DaemonOptions, primitives: Primitives): DaemonState {
  const stored = loadState(options.state, primitives);
  const token = options.token === null ? null : parseToken(options.token);
  if (stored !== null) {
    const same =
      token === null || (token.deviceId === stored.network.deviceId && token.domain === stored.network.domain);
    if (!same) {
      const { deviceId: device } = stored.network;
      raise('CONFIG_TOKEN_OTHER', { directory: options.state, device, other: token.deviceId });
    }
    const { secret = null } = token ?? {};
    const isNew = secret !== null && !(stored.spentSecret !== null && sameOctets(secret, stored.spentSecret));
    return isNew ? { ...stored, secret } : stored;
  }
  if (token === null) return raise('CONFIG_TOKEN_MISSING');
  const { secret, ...network } = token;
  const state: DaemonState = {
    network,
    secret,
    spentSecret: null,
    identity: generateIdentity(primitives),
    tlsRoot: null,
    session: null,
    loggedInAt: null,
  };
  saveState(options.state, state);
  return state;
}

function parseToken(text: string): EnrolmentToken {
  return decodeToken(text) ?? raise('USAGE_TOKEN_INVALID');
}

class Daemon {
  readonly #options: DaemonOptions;
  readonly #primitives: Primitives;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  readonly #extension: Extension | null;
  #state: DaemonState;
  #opening: Promise<LiveNode> | null = null;
  #live: LiveNode | null = null;
  #renewing = false;
  /** Called once the daemon has to end: null = asked to stop. */
  onEnd: (error: CyphonicError | null) => void = () => {};

  constructor(
    options: DaemonOptions,
    state: DaemonState,
    primitives: Primitives,
    log: Log,
    extension: Extension | null,
  ) {
    this.#extension = extension;
    this.#options = options;
    this.#state = state;
    this.#primitives = primitives;
    this.#log = log;
  }

  /** Resolves with the ready line once the node serves. */
  async start(): Promise<string> {
    const stored = this.#state.session;
    const usable = stored !== null && this.#state.secret === null && stored.certificateExpires > readClock().wall;
    if (!usable) checkHost(this.#options);
    const session = usable ? stored : await this.#logInPatiently();
    this.#stopping.signal.throwIfAborted();
    this.#opening = LiveNode.open({
      ...this.#options,
      extension: this.#extension,
      daemonState: () => this.#state,
      deviceId: this.#state.network.deviceId,
      identity: this.#state.identity,
      tlsRoot: this.#state.tlsRoot,
      session,
      primitives: this.#primitives,
      log: this.#log,
      onRenew: () => void this.#renew(),
      onRefused: () => this.onEnd(new CyphonicError('REFUSED_DEVICE', { device: this.#state.network.deviceId })),
      onFailure: (error) => this.onEnd(error),
    });
    const live = await this.#opening;
    this.#live = live;
    if (usable && (this.#state.loggedInAt ?? 0) + RENEW_AFTER_MS < readClock().wall) void this.#renew();
    await live.serving;
    return `ready ${session.fqdn} ${[session.vip4, session.vip6].filter((vip) => vip !== null).join(' ')}`;
  }

  get status(): LiveStatus | null {
    return this.#live?.status() ?? null;
  }

  async answer({ method, params }: ControlRequest): Promise<unknown> {
    switch (method) {
      case 'status':
        return buildStatus(this.#state, this.#live, this.#extension?.role ?? 'node');
      case 'ping': {
        const { target } = params as { target: string };
        if (this.#live === null) raise('SYS_OFFLINE');
        return this.#live.ping(target);
      }
      case 'netcheck':
        return (this.#live ?? raise('SYS_OFFLINE')).netcheck();
      case 'down':
        this.onEnd(null);
        return { pid: process.pid };
      default:
        return raise('PEER_INVALID', { what: `control method ${method}` });
    }
  }

  async close(): Promise<void> {
    this.#stopping.abort(new CyphonicError('DAEMON_ENDED', { directory: this.#options.state }));
    // One that is still being opened is closed as soon as it is open; if it cannot be, it has cleaned up itself.
    const live = await this.#opening?.catch(() => null);
    this.#live = null;
    await live?.close();
  }

  /** Tries until it succeeds, the network refuses or the daemon stops. */
  async #logInPatiently(): Promise<Session> {
    for (let delay = LOGIN_RETRY_MIN_MS; ; delay = Math.min(2 * delay, LOGIN_RETRY_MAX_MS)) {
      try {
        return await this.#logIn();
      } catch (error) {
        if (!isTransient(error)) throw error;
        this.#log.warn('login failed, trying again', { why: (error as Error).message, inMs: delay });
        const jitter = 0.75 + (this.#primitives.random(1)[0]! / 255) * 0.5;
        await this.#pause(delay * jitter);
      }
    }
  }

  async #logIn(): Promise<Session> {
    const result = await logIn(this.#options, this.#state, this.#primitives);
    this.#state = result.state;
    this.#log.info('logged in', { fqdn: result.session.fqdn, nodeId: result.session.nodeId });
    return result.session;
  }

  async #renew(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      this.#live?.renewed(await this.#logIn());
    } catch (error) {
      if (error instanceof CyphonicError && error.code.startsWith('REFUSED_')) this.onEnd(error);
      else this.#log.warn('login not renewed', { why: (error as Error).message });
    } finally {
      this.#renewing = false;
    }
  }

  #pause(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(signal.reason);
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, ms);
      signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          stop();
        },
        { once: true },
      );
    });
  }
}

/** What cannot work here is said before the network is asked, whose answer may take long and costs the token. */
function checkHost({ port, portIsDefault: orNext }: DaemonOptions): void {
  closeTun(openTun({ name: 'cyp%d' }));
  closeUdp(openUdp({ address4: '0.0.0.0', address6: '::', port, orNext }));
}

const transient = ['SYS_UNREACHABLE', 'SYS_PROXY', 'PEER_INVALID'];

function isTransient(error: unknown): boolean {
  return error instanceof CyphonicError && transient.includes(error.code);
}
