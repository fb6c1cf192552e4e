/** The resolver over TCP (RFC 7766): answers in whatever order they come, and no connection longer than it is used. */

import { createServer, type Socket } from 'node:net';
import type { Address } from '../../lib/ip.ts';
import { DnsStream, frame } from './dns-stream.ts';
import type { ResolverService } from './resolver.ts';

type Service = Pick<ResolverService, 'connect' | 'answer'>;
export type Listener = { readonly address: Address; close(): void };

/** Queries of one connection in progress; more wait. */
const MAX_PIPELINED = 16;
/** RFC 7766 section 6.2.3: of the order of seconds. */
const IDLE_MS = 10_000;

export function listenTcp(service: Service, address: Address, port: number): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const connections = new Set<Socket>();
    // Who has nothing more to ask may say so, and still waits for answers (RFC 7766 section 6.2.4).
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const source = socket.remoteAddress;
      const ended = source === undefined ? null : service.connect(source);
      if (source === undefined || ended === null) return void socket.destroy();
      connections.add(socket);
      socket.once('close', () => {
        connections.delete(socket);
        ended();
      });
      serve(service, socket, source);
    });
    server.once('error', reject);
    server.listen({ host: address, port }, () => {
      server.off('error', reject).on('error', () => {});
      resolve({
        address,
        close: () => {
          server.close();
          for (const socket of connections) socket.destroy();
        },
      });
    });
  });
}

function serve(service: Service, socket: Socket, source: string): void {
  const stream = new DnsStream();
  const waiting: Uint8Array[] = [];
  let underway = 0;
  let ended = false;
  const proceed = (): void => {
    if (socket.destroyed) return;
    while (underway < MAX_PIPELINED && waiting.length > 0) {
      underway++;
      void service.answer(waiting.shift()!, source, 'tcp').then((response) => {
        if (response === null) return void socket.destroy();
        // Who does not read its answers gets no more of them: each counts until it has left.
        socket.write(frame(response), () => {
          underway--;
          proceed();
        });
      });
    }
    if (waiting.length > 0) socket.pause();
    else if (!ended) socket.resume();
    else if (underway === 0) socket.end();
  };
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    // Unless it's told otherwise, a socket's data are octets.
    waiting.push(...stream.push(chunk as Buffer));
    proceed();
  });
  socket.on('end', () => {
    ended = true;
    proceed();
  });
}
