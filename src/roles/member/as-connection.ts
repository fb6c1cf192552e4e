/** One TLS 1.3 connection to the AS: frames of the login exchange in, frames out, and the exporter value both ends share. */

import { createHash, X509Certificate } from 'node:crypto';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import { loginFrameLength } from '../../proto/codec.ts';
import { LOGIN_EXPORTER_LABEL } from '../../proto/constants.ts';
import { serviceNames } from '../service-names.ts';
import { openTls } from './reach.ts';
import type { DaemonState } from './state.ts';

const ANSWER_TIMEOUT_MS = 10_000;
/** Longest answer an AS can have: its Message Length is 16 bits. */
const MAX_FRAME = 65_535;

export type AsConnection = {
  readonly endpoint: Endpoint;
  /** TLS exporter value (RFC 8446 section 7.5) that the login signature covers: it binds the login to this connection. */
  readonly exporter: Uint8Array;
  send(frame: Uint8Array): void;
  /** The next whole frame. */
  receive(): Promise<Uint8Array>;
  close(): void;
};

/** How to get to an AS. */
export type AsRoute = {
  readonly network: Pick<DaemonState['network'], 'domain' | 'rootHash'>;
  readonly environment: ProxyEnvironment;
};

/**
 * The network's TLS root as the AS presents it, recognised by the hash in the enrolment token (DER).
 * Nothing is sent on this connection; the root is used for ordinary verification from then on.
 */
export async function fetchTlsRoot(
  endpoint: Endpoint,
  { network, environment }: AsRoute,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const trust = { servername: serviceNames(network.domain).as, rejectUnauthorized: false };
  const socket = await openTls(endpoint, trust, environment, signal);
  try {
    let certificate = socket.getPeerX509Certificate();
    for (let depth = 0; certificate !== undefined && depth < 4; depth++) {
      const hash = createHash('sha256').update(certificate.raw).digest();
      if (hash.equals(network.rootHash)) return Uint8Array.from(certificate.raw);
      certificate = certificate.issuerCertificate;
    }
  } finally {
    socket.destroy();
  }
  return raise('PEER_WRONG_NETWORK', { address: formatEndpoint(endpoint) });
}

export async function connectAs(
  endpoint: Endpoint,
  { network, environment }: AsRoute,
  tlsRoot: Uint8Array,
  signal?: AbortSignal,
): Promise<AsConnection> {
  // Other certificates of the same root are no AS's.
  const trust = { servername: serviceNames(network.domain).as, ca: new X509Certificate(tlsRoot).toString() };
  const socket = await openTls(endpoint, trust, environment, signal);
  const exporter = Uint8Array.from(socket.exportKeyingMaterial(32, LOGIN_EXPORTER_LABEL, Buffer.alloc(0)));
  let received = new Uint8Array(0);
  let failure: Error | null = null;
  let wake: () => void = () => {};
  socket.on('data', (chunk: Buffer) => {
    received = Uint8Array.from(Buffer.concat([received, chunk]));
    wake();
  });
  socket.on('error', (error) => {
    failure = error;
    wake();
  });
  socket.on('close', () => {
    failure ??= new CyphonicError('SYS_CONNECTION', { why: 'closed by the AS' });
    wake();
  });
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new CyphonicError('SYS_CONNECTION', { why: 'no answer' })));

  return {
    endpoint,
    exporter,
    send: (frame) => void socket.write(frame),
    async receive() {
      for (;;) {
        const length = loginFrameLength(received);
        if (length !== null && length <= MAX_FRAME && received.length >= length) {
          const frame = received.slice(0, length);
          received = received.slice(length);
          return frame;
        }
        if (failure !== null) throw failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    close: () => void socket.destroySoon(),
  };
}
