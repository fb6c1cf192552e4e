/** TCP and TLS connections to the cloud: straight, or through the HTTP proxy that the environment names. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { CyphonicError } from '../../lib/errors.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { connectRequest, type HttpProxy, readConnectAnswer } from '../../net/http-proxy.ts';

/** Where something is to be reached: `at` is the same where a NAT64 translates. A proxy finds the way itself. */
export type Way = { readonly to: Endpoint; readonly at: Endpoint; readonly proxy: HttpProxy | null };

/** TCP; rejects with the reason of `signal` if that comes first. */
export async function dial({ to, at, proxy }: Way, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const { host, port } = proxy ?? { host: at.address, port: at.port };
  const socket = connect({ host, port });
  await guard(socket, signal, async () => {
    const connected = once(socket, 'connect');
    if (proxy === null) {
      await connected;
      return;
    }
    const why = await connected.then(
      () => tunnel(socket, to, proxy),
      (error: unknown) => `cannot be reached (${reasonOf(error)}); check HTTPS_PROXY`,
    );
    if (why !== null) throw new CyphonicError('SYS_PROXY', { proxy: formatEndpoint({ address: host, port }), why });
  });
  return socket;
}

/** TLS over it; `options` say who is believed. */
export async function secure(socket: Socket, options: ConnectionOptions, signal: AbortSignal): Promise<TLSSocket> {
  const tls = connectTls({ ...options, socket, minVersion: 'TLSv1.3' });
  await guard(tls, signal, () => once(tls, 'secureConnect'));
  return tls;
}

/** In few words: what the system says, or what we do. */
export function reasonOf(error: unknown): string {
  const { name, code, message } = error as NodeJS.ErrnoException;
  if (name === 'TimeoutError') return 'no answer';
  return error instanceof CyphonicError ? message : (code ?? message);
}

/** Waits for what `signal` ends; if it fails, the connection ends. */
async function guard(socket: Socket, signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  const stop = (): void => void socket.destroy(signal.reason as Error);
  signal.addEventListener('abort', stop);
  // Whoever waits hears of it by `once`; nobody else has to.
  socket.on('error', () => {});
  try {
    await work();
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Asks the proxy for a way through; null: everything from now on comes from the other end. */
async function tunnel(socket: Socket, to: Endpoint, proxy: HttpProxy): Promise<string | null> {
  socket.write(connectRequest(to, proxy));
  const status = await answerOf(socket);
  if (status >= 200 && status < 300) return null;
  switch (status) {
    case 0:
      return 'gives no HTTP answer; check HTTPS_PROXY';
    case 401:
    case 407:
      return `wants another name and password (${status}); put them into HTTPS_PROXY as http://NAME:PASSWORD@HOST:PORT`;
    default:
      return `lets nobody to ${formatEndpoint(to)} (${status}); have CONNECT allowed there, or exempt it by NO_PROXY`;
  }
}

/** The status of a proxy's answer, 0 if it is none; what follows it is still to be read. */
function answerOf(socket: Socket): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let received = Buffer.alloc(0);
  const read = (chunk: Buffer): void => {
    received = Buffer.concat([received, chunk]);
    const answer = readConnectAnswer(received);
    if (answer === null) return;
    socket.off('data', read);
    socket.pause();
    if (answer.rest.length > 0) socket.unshift(answer.rest);
    resolve(answer.status);
  };
  socket.on('data', read);
  socket.once('close', () => resolve(0));
  return promise;
}
