/** One TLS 1.3 connection to the AS: frames of the login exchange in, frames out, and the exporter value both ends share. */

import { createHash, X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { type Endpoint, familyOf, formatEndpoint } from '../../lib/ip.ts';
import { intoNat64 } from '../../net/nat64.ts';
import { loginFrameLength } from '../../proto/codec.ts';
import { LOGIN_EXPORTER_LABEL } from '../../proto/constants.ts';
import { discoverNat64 } from './nat64.ts';
import type { DaemonState } from './state.ts';

const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** Longest answer an AS can have: its Message Length is 16 bits. */
const MAX_FRAME = 65_535;

export type AsConnection = {
  /** TLS exporter value (RFC 8446 section 7.5) that the login signature covers: it binds the login to this connection. */
  readonly exporter: Uint8Array;
  send(frame: Uint8Array): void;
  /** The next whole frame. */
  receive(): Promise<Uint8Array>;
  close(): void;
};

/** The name an AS's certificate carries: other certificates of the same root are no AS's. */
export function asServerName(domain: string): string {
  return `as.${domain}`;
}

/** Also from a network that has IPv6 alone, if that has a NAT64. */
async function open(...[endpoint, domain, trust]: Parameters<typeof openAt>): Promise<TLSSocket> {
  try {
    return await openAt(endpoint, domain, trust);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENETUNREACH' || familyOf(endpoint.address) === 6) throw error;
    const prefix = await discoverNat64();
    if (prefix === null) throw error;
    return openAt(intoNat64(prefix, endpoint), domain, trust);
  }
}

function openAt(
  endpoint: Endpoint,
  domain: string,
  trust: { ca: string } | { rejectUnauthorized: false },
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: endpoint.address,
      port: endpoint.port,
      servername: asServerName(domain),
      minVersion: 'TLSv1.3',
      ...trust,
    });
    socket.setTimeout(CONNECT_TIMEOUT_MS, () =>
      socket.destroy(new CyphonicError('SYS_CONNECTION', { why: 'ETIMEDOUT' })),
    );
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.off('error', reject);
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

/**
 * The network's TLS root as the AS presents it, recognised by the hash in the enrolment token (DER).
 * Nothing is sent on this connection; the root is used for ordinary verification from then on.
 */
export async function fetchTlsRoot(endpoint: Endpoint, network: DaemonState['network']): Promise<Uint8Array> {
  const socket = await open(endpoint, network.domain, { rejectUnauthorized: false });
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
  network: DaemonState['network'],
  tlsRoot: Uint8Array,
): Promise<AsConnection> {
  const socket = await open(endpoint, network.domain, { ca: new X509Certificate(tlsRoot).toString() });
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
