/** What the TLS servers of a network share: certificates under its root, renewed while they run, and how they listen. */

import type { Server as HttpsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { issueTlsServer, type TlsIdentity } from '../crypto/tls-certificate.ts';
import { raise } from '../lib/errors.ts';
import { canonicalAddress, type Endpoint } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import { readClock } from '../sys/clock.ts';
import { type NetworkFile, readTlsRoot } from './network-files.ts';
import { serviceNames } from './service-names.ts';

/** Server certificates are made by each process and last for months. */
const TLS_RENEWAL_MS = 7 * 86_400_000;

/** Certificate and key of this process under the network's TLS root, the root itself in the chain for new devices. */
export async function makeTlsContext(file: NetworkFile): Promise<{ cert: string; key: string }> {
  const addresses = [file.address4, file.address6].filter((address) => address !== null);
  const root = readTlsRoot(file);
  let server: TlsIdentity;
  try {
    const { as, controller } = serviceNames(file.network.domain);
    server = await issueTlsServer(root, [as, controller], addresses, readClock().wall);
  } catch (cause) {
    const why = 'it and its key do not make a certificate authority; restore a backup';
    return raise('CONFIG_INVALID', { file: file.tlsRootFile, why }, cause);
  }
  return { cert: `${server.certificate.trimEnd()}\n${root.certificate}`, key: server.privateKey };
}

/** Gives the server a new certificate from time to time; returns the way to stop. */
export function keepRenewed(server: TlsServer | HttpsServer, file: NetworkFile, log: Log): () => void {
  const renewal = setInterval(() => {
    makeTlsContext(file).then(
      (context) => server.setSecureContext(context),
      (error: Error) => log.error('renewing the TLS certificate failed', { error: error.message }),
    );
  }, TLS_RENEWAL_MS);
  renewal.unref();
  return () => clearInterval(renewal);
}

/** How a server takes on a connection that came in at another one's port: so many at once, as `maxConnections` bounds its own. */
export function adopter(server: TlsServer | HttpsServer, limit: number): (socket: Socket) => void {
  let adopted = 0;
  return (socket) => {
    if (!server.listening || adopted >= limit) {
      server.emit('drop');
      socket.destroy();
      return;
    }
    adopted += 1;
    socket.once('close', () => {
      adopted -= 1;
    });
    server.emit('connection', socket);
  };
}

export function remoteOf(socket: Socket): Endpoint | null {
  // A link-local address comes with its zone.
  const address = canonicalAddress((socket.remoteAddress ?? '').replace(/%.*$/, ''));
  return address === null || socket.remotePort === undefined ? null : { address, port: socket.remotePort };
}

/** Listens on all addresses of both families, or of IPv4 where the system has no IPv6. */
export async function listenEverywhere(server: Server, port: number): Promise<void> {
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
