/** Runs the AS: TLS 1.3 connections around its machine, which knows them by their remote endpoint. */

import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { Lines, sourceOf } from '../../core/as/lines.ts';
import { AsMachine } from '../../core/as/machine.ts';
import type { AsAction } from '../../core/as/questions.ts';
import { Buckets, Shares, siteOf } from '../../core/limits.ts';
import { issueCertificate } from '../../crypto/certificate.ts';
import { nodePrimitives } from '../../crypto/node.ts';
import { concat } from '../../lib/bytes.ts';
import { Counters } from '../../lib/counters.ts';
import { raise } from '../../lib/errors.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { loginFrameLength } from '../../proto/codec.ts';
import { LOGIN_EXPORTER_LABEL } from '../../proto/constants.ts';
import { verifySecret } from '../../store/password.ts';
import type { Shared } from '../../store/shared.ts';
import { readClock } from '../../sys/clock.ts';
import { evpAead } from '../../sys/evp.ts';
import type { Running } from '../context.ts';
import type { Drainable } from '../drain.ts';
import { counterSamples, sample } from '../metrics.ts';
import { type NetworkFile, readKeyFile, readText } from '../network-files.ts';
import { watchRelays } from '../relay-presence.ts';
import { REGISTER_SILENT } from '../service.ts';
import { type RegisterAccess, Shell } from '../shell.ts';
import type { Observed } from '../telemetry.ts';
import { adopter, keepRenewed, listenEverywhere, makeTlsContext, remoteOf } from '../tls-server.ts';

export type AsServiceOptions = {
  readonly file: NetworkFile;
  readonly register: RegisterAccess;
  /** Where replicas of TRSs announce themselves; null = it was not said. */
  readonly shared?: Shared | null;
  readonly log: Log;
  readonly counters?: Counters;
  /** Connections at most on which nobody has logged in yet. */
  readonly maxStrangers?: number;
};

const HANDSHAKE_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 4_096;
/** Else one host that never says anything could hold all of them. */
const MAX_SITE_CONNECTIONS = 256;
/** When there are more on which nobody has logged in, one of where most of them come from goes. */
const MAX_STRANGERS = 2_048;
/** A certificate of a general node's own CA may come with its chain; nothing else is long. */
const MAX_FRAME = 16_384;
/** Answers that wait for a client that does not read them. */
const MAX_UNSENT = 1 << 20;
const HANG_UP_MS = 1_000;
/** Lines in the log about connections that did not even get to a login. */
const REFUSAL_LINES = { burst: 20, perSecond: 0.2 };

export type AsService = Running &
  Drainable & {
    /** Events since the start. */
    counters(): Record<string, number>;
    readonly observed: Observed;
    /** Takes on a connection that came in at another port. */
    adopt(socket: Socket): void;
  };

export async function startAs(options: AsServiceOptions): Promise<AsService> {
  const { file, register, shared = null, log, counters = new Counters() } = options;
  const primitives = nodePrimitives(evpAead);
  const caKey = readKeyFile(file.caKeyFile);
  const probe = primitives.random(32);
  if (!primitives.ed25519Verify(file.caPublicKey, probe, primitives.ed25519Sign(caKey, probe))) {
    raise('CONFIG_INVALID', { file: file.caKeyFile, why: 'it is not the key of ca-public-key in cloud.yaml' });
  }
  const machine = new AsMachine({
    primitives,
    network: file.network,
    issue: (content) => issueCertificate(primitives, caKey, content),
    tlsRoot: readText(file.tlsRootFile),
  });
  /** By remote endpoint: TCP connections before, and TLS connections after their handshake. */
  const handshaking = new Map<string, Socket>();
  const sockets = new Map<string, TLSSocket>();
  const sites = new Shares(MAX_SITE_CONNECTIONS);
  const strangers = new Lines<string>(options.maxStrangers ?? MAX_STRANGERS, randomInt);
  const refusalLines = new Buckets(REFUSAL_LINES);
  let stopping = false;

  const shell = new Shell<AsAction>({
    machine,
    register,
    counters,
    log,
    send(to, datagram) {
      const socket = sockets.get(formatEndpoint(to));
      if (socket === undefined) return;
      socket.write(datagram);
      if (socket.writableLength > MAX_UNSENT) socket.destroy();
    },
    perform(action) {
      if (action.do === 'close') hangUp(sockets.get(formatEndpoint(action.connection)));
      else if (action.do === 'believe')
        strangers.remove(sourceOf(action.connection), formatEndpoint(action.connection));
      else {
        const settle = (matches: boolean) => shell.input((_, now) => machine.hashed(action.ticket, matches, now));
        verifySecret(action.password, action.hash).then(settle, () => settle(false));
      }
    },
  });

  const accept = (socket: TLSSocket): void => {
    const endpoint = remoteOf(socket);
    const name = endpoint === null ? '' : formatEndpoint(endpoint);
    handshaking.delete(name);
    if (endpoint === null || sockets.has(name) || stopping) {
      socket.destroy();
      return;
    }
    sockets.set(name, socket);
    socket.once('close', () => {
      sockets.delete(name);
      shell.input(() => machine.closed(endpoint));
    });
    const exporter = Uint8Array.from(socket.exportKeyingMaterial(32, LOGIN_EXPORTER_LABEL, Buffer.alloc(0)));
    shell.input((_, now) => machine.connected(endpoint, exporter, now));
    onFrames(socket, (frame) => shell.receive(frame, endpoint));
  };

  const server = createServer({
    ...(await makeTlsContext(file)),
    minVersion: 'TLSv1.3',
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('connection', (socket: Socket) => {
    const endpoint = remoteOf(socket);
    if (endpoint === null) return;
    const site = siteOf(endpoint);
    if (!sites.take(site)) {
      counters.add('site-limit');
      socket.destroy();
      return;
    }
    const name = formatEndpoint(endpoint);
    handshaking.set(name, socket);
    socket.once('close', () => {
      handshaking.delete(name);
      strangers.remove(sourceOf(endpoint), name);
      sites.release(site);
    });
    const gone = strangers.add(sourceOf(endpoint), name);
    if (gone === null) return;
    counters.add('connection-gave-way');
    (handshaking.get(gone) ?? sockets.get(gone))?.destroy();
  });
  server.on('secureConnection', accept);
  server.on('drop', () => counters.add('connection-limit'));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const fields = { reason: error.code ?? error.message, from: socket.remoteAddress ?? null };
    // Devices hang up once they have seen our root certificate, as does whoever only looks for open ports.
    const aborted = error.code === 'ECONNRESET';
    counters.add(aborted ? 'tls-aborted' : 'tls-refused');
    const worthALine = !aborted && refusalLines.take('', readClock().ms);
    log[worthALine ? 'warn' : 'debug']('TLS connection refused', fields);
  });
  await listenEverywhere(server, file.asPort);
  server.on('error', (error) => log.error('AS socket failed', { error: error.message }));
  const stopRenewing = keepRenewed(server, file, log);
  const unwatch =
    shared === null ? null : watchRelays(shared, (found) => shell.input(() => machine.relaysPresent(found)));

  return {
    counters: () => counters.snapshot(),
    observed: {
      role: 'as',
      service: 'as',
      samples: () => [
        ...counterSamples(counters.snapshot(), counters.times()),
        sample('cyphonic_connections', machine.sizes.connections),
        sample('cyphonic_logins_waiting', machine.sizes.logins),
      ],
      obstacle: () => (shell.registerAnswers ? null : REGISTER_SILENT),
    },
    adopt: adopter(server, MAX_CONNECTIONS),
    busy: () => handshaking.size > 0 || machine.sizes.unfinished > 0,
    async stop() {
      stopping = true;
      stopRenewing();
      unwatch?.();
      shell.stop();
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of handshaking.values()) socket.destroy();
      for (const socket of sockets.values()) hangUp(socket);
      await closed;
    },
  };
}

/** Ends a connection: what was answered still goes out, unless the other end does not take it. */
function hangUp(socket: TLSSocket | undefined): void {
  if (socket === undefined) return;
  socket.end();
  const cut = setTimeout(() => socket.destroy(), HANG_UP_MS);
  socket.once('close', () => clearTimeout(cut));
}

/** Cuts the stream into whole messages. */
function onFrames(socket: TLSSocket, deliver: (frame: Uint8Array) => void): void {
  let received: Uint8Array = new Uint8Array(0);
  socket.on('data', (chunk: Buffer) => {
    received = concat(received, chunk);
    for (;;) {
      const length = loginFrameLength(received);
      if (length === null || socket.destroyed || socket.writableEnded) return;
      if (length > MAX_FRAME) {
        socket.destroy();
        return;
      }
      if (received.length < length) return;
      const frame = received.subarray(0, length);
      received = received.subarray(length);
      deliver(frame);
    }
  });
  // What the other end does to its connection is no fault of ours; `close` follows.
  socket.on('error', () => {});
}
