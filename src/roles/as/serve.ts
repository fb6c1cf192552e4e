/** Runs the AS: TLS 1.3 connections around its machine, which knows them by their remote endpoint. */

import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { type AsAction, AsMachine } from '../../core/as/machine.ts';
import { Buckets, Shares, siteOf } from '../../core/limits.ts';
import { issueCertificate } from '../../crypto/certificate.ts';
import { nodePrimitives } from '../../crypto/node.ts';
import { issueTlsServer, type TlsIdentity } from '../../crypto/tls-certificate.ts';
import { concat } from '../../lib/bytes.ts';
import { Counters } from '../../lib/counters.ts';
import { raise } from '../../lib/errors.ts';
import { canonicalAddress, type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { readClock } from '../../lib/time.ts';
import { loginFrameLength } from '../../proto/codec.ts';
import { LOGIN_EXPORTER_LABEL } from '../../proto/constants.ts';
import { verifySecret } from '../../store/password.ts';
import { evpAead } from '../../sys/evp.ts';
import type { Running } from '../context.ts';
import { counterSamples, sample } from '../metrics.ts';
import { type NetworkFile, readKeyFile, readText } from '../network-files.ts';
import { REGISTER_SILENT } from '../service.ts';
import { type RegisterAccess, Shell } from '../shell.ts';
import type { Observed } from '../telemetry.ts';

export type AsServiceOptions = {
  readonly file: NetworkFile;
  readonly register: RegisterAccess;
  readonly log: Log;
  readonly counters?: Counters;
};

const HANDSHAKE_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 4_096;
/** Else one host that never says anything could hold all of them. */
const MAX_SITE_CONNECTIONS = 256;
/** A certificate of a general node's own CA may come with its chain; nothing else is long. */
const MAX_FRAME = 16_384;
/** Answers that wait for a client that does not read them. */
const MAX_UNSENT = 1 << 20;
const HANG_UP_MS = 1_000;
/** Lines in the log about connections that did not even get to a login. */
const REFUSAL_LINES = { burst: 20, perSecond: 0.2 };
/** Server certificates are made by each process and last for months. */
const TLS_RENEWAL_MS = 7 * 86_400_000;

export type AsService = Running & {
  /** Events since the start. */
  counters(): Record<string, number>;
  readonly observed: Observed;
};

export async function startAs(options: AsServiceOptions): Promise<AsService> {
  const { file, register, log, counters = new Counters() } = options;
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
  });
  /** By remote endpoint: TCP connections before, and TLS connections after their handshake. */
  const handshaking = new Map<string, Socket>();
  const sockets = new Map<string, TLSSocket>();
  const sites = new Shares(MAX_SITE_CONNECTIONS);
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
    ...(await makeContext(file)),
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
      sites.release(site);
    });
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
  await listen(server, file.asPort);
  server.on('error', (error) => log.error('AS socket failed', { error: error.message }));
  const renewal = setInterval(() => {
    makeContext(file).then(
      (context) => server.setSecureContext(context),
      (error: Error) => log.error('renewing the TLS certificate failed', { error: error.message }),
    );
  }, TLS_RENEWAL_MS);
  renewal.unref();

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
    async stop() {
      stopping = true;
      clearInterval(renewal);
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

/** Certificate and key of this process under the network's TLS root, the root itself in the chain for new devices. */
async function makeContext(file: NetworkFile): Promise<{ cert: string; key: string }> {
  const { domain } = file.network;
  const addresses = [file.address4, file.address6].filter((address) => address !== null);
  const root = { certificate: readText(file.tlsRootFile), privateKey: readText(file.tlsRootKeyFile) };
  let server: TlsIdentity;
  try {
    server = await issueTlsServer(root, [`as.${domain}`, `controller.${domain}`], addresses, readClock().wall);
  } catch (cause) {
    const why = 'it and its key do not make a certificate authority; restore a backup';
    return raise('CONFIG_INVALID', { file: file.tlsRootFile, why }, cause);
  }
  return { cert: `${server.certificate.trimEnd()}\n${root.certificate}`, key: server.privateKey };
}

function remoteOf(socket: Socket): Endpoint | null {
  // A link-local address comes with its zone.
  const address = canonicalAddress((socket.remoteAddress ?? '').replace(/%.*$/, ''));
  return address === null || socket.remotePort === undefined ? null : { address, port: socket.remotePort };
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

/** Listens on all addresses of both families, or of IPv4 where the system has no IPv6. */
async function listen(server: Server, port: number): Promise<void> {
  const attempt = (host: string) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, ipv6Only: false }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  try {
    await attempt('::').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EAFNOSUPPORT' && error.code !== 'EADDRNOTAVAIL') throw error;
      return attempt('0.0.0.0');
    });
  } catch (cause) {
    raise('SYS_LISTEN', { port, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}
