/** The thread of a node's streams: one TLS connection and one local UDP port for each (docs/protocol.md, Over TLS). */

import { connect as connectTcp, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { Counters } from '../../lib/counters.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { connectRequest, type HttpProxy, readConnectAnswer } from '../../net/http-proxy.ts';
import { limitUnsent } from '../../sys/tcp.ts';
import { Carriage, Conduit } from '../carriage.ts';
import type { CarrierOrder, CarrierReport, CarrierSetup } from './carriers.ts';

const CONNECT_TIMEOUT_MS = 4_000;
const WATCH_MS = 1_000;
/** Without anything from the other end it is asked whether it is there, and later given up (ms). */
const QUIET_MS = 4_000;
const DEAD_MS = 10_000;

const LOOPBACK = '127.0.0.1';

const { udpPort, tlsRoot, serverName } = workerData as CarrierSetup;
const report = (message: CarrierReport): void => parentPort!.postMessage(message);

const counters = new Counters();
const streams = new Map<string, Stream>();

class Stream {
  readonly #endpoint: Endpoint;
  #socket: Socket;
  #carriage: Carriage | null = null;
  #conduit: Conduit | null = null;
  /** Asked for: then nobody wants to hear of the end. */
  #ended = false;

  constructor(endpoint: Endpoint, at: Endpoint, proxy: HttpProxy | null) {
    this.#endpoint = endpoint;
    const { address: host, port } = at;
    const socket = connectTcp(proxy === null ? { host, port } : { host: proxy.host, port: proxy.port });
    this.#socket = socket;
    const timer = setTimeout(() => this.#end('no answer'), CONNECT_TIMEOUT_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.once('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message));
    socket.once('connect', () => {
      limitUnsent(socket);
      if (proxy === null) this.#secure(socket, timer);
      else this.#tunnel(socket, proxy, timer);
    });
  }

  end(): void {
    this.#ended = true;
    this.#end('not needed any more');
  }

  look(now: number): void {
    if (this.#carriage === null) return;
    const quiet = now - this.#carriage.heardAt;
    if (quiet > DEAD_MS) this.#carriage.close('silent');
    else if (quiet > QUIET_MS) this.#carriage.beat();
  }

  #tunnel(socket: Socket, proxy: HttpProxy, timer: NodeJS.Timeout): void {
    let received = Buffer.alloc(0);
    socket.write(connectRequest(this.#endpoint, proxy));
    const read = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const answer = readConnectAnswer(received);
      if (answer === null) return;
      socket.off('data', read);
      socket.pause();
      if (answer.status < 200 || answer.status > 299) {
        this.#end(`the proxy says ${answer.status || 'what is no HTTP'}`);
        return;
      }
      if (answer.rest.length > 0) socket.unshift(answer.rest);
      this.#secure(socket, timer);
    };
    socket.on('data', read);
    socket.once('end', () => this.#end('the proxy hung up'));
  }

  #secure(socket: Socket, timer: NodeJS.Timeout): void {
    const tls = connectTls({
      socket,
      ca: tlsRoot,
      minVersion: 'TLSv1.3',
      // The name is checked, but not told to whoever listens on the way.
      servername: '',
      checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
    });
    this.#socket = tls;
    tls.once('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message));
    tls.once('secureConnect', () => {
      clearTimeout(timer);
      this.#conduit = new Conduit(LOOPBACK, { address: LOOPBACK, port: udpPort }, counters, (datagram) =>
        this.#carriage?.send(datagram),
      );
      this.#carriage = new Carriage(tls, counters, {
        datagram: (datagram) => datagram.length > 0 && this.#conduit?.send(datagram),
        closed: (why) => this.#end(why),
      });
      report({ opened: this.#endpoint, local: this.#conduit.local });
    });
  }

  #end(why: string): void {
    this.#socket.destroy();
    this.#conduit?.close();
    this.#conduit = null;
    this.#carriage = null;
    const name = formatEndpoint(this.#endpoint);
    if (streams.get(name) !== this) return;
    streams.delete(name);
    if (!this.#ended) report({ closed: this.#endpoint, why });
  }
}

const watch = setInterval(() => {
  const now = performance.now();
  for (const stream of streams.values()) stream.look(now);
  report({ counters: counters.snapshot() });
}, WATCH_MS);

parentPort!.on('message', (order: CarrierOrder) => {
  if ('connect' in order) {
    const name = formatEndpoint(order.connect);
    if (!streams.has(name)) streams.set(name, new Stream(order.connect, order.at, order.proxy));
  } else if ('disconnect' in order) {
    streams.get(formatEndpoint(order.disconnect))?.end();
  } else {
    clearInterval(watch);
    for (const stream of streams.values()) stream.end();
    parentPort!.close();
  }
});
