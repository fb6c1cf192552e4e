/** The thread that ends the TLS connections of a TRS: so many octets of them must not hold up its signalling. */

import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { Buckets, Shares, siteOf } from '../../core/limits.ts';
import { concat } from '../../lib/bytes.ts';
import { Counters } from '../../lib/counters.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import { readHelloName } from '../../net/client-hello.ts';
import { detach, limitUnsent } from '../../sys/tcp.ts';
import { listenEverywhere, remoteOf } from '../tls-server.ts';
import { Guest, type Targets } from './guest.ts';
import type { TerminalOrder, TerminalReport, TerminalSetup } from './terminal.ts';

const HANDSHAKE_TIMEOUT_MS = 10_000;
const SWEEP_MS = 1_000;
/**
 * What strangers of one site may say together. The services see all of it come from our address, as they do what believed
 * devices say: this is a share of what an NMS hears from one address of nodes that it does not know.
 */
const STRANGER_RATE = { burst: 128, perSecond: 64 };

const { certificate, key, port, limits, others } = workerData as TerminalSetup;
const report = (message: TerminalReport): void => parentPort!.postMessage(message);

const counters = new Counters();
const guests = new Set<Guest>();
/** By site: connections, and those of them that nobody has believed yet. */
const connections = new Shares(limits.perSite);
const strangersOf = new Shares(limits.strangersPerSite);
const strangersSay = new Buckets(STRANGER_RATE);
/** Those by their remote end, the oldest first. */
const strangers = new Map<string, { readonly socket: Socket; readonly site: string }>();
let targets: Targets = { trs: null, nms: [] };

const server = createServer();
server.maxConnections = limits.connections;
/** Gets the connections that are meant for us. */
const tls = createTlsServer({ cert: certificate, key, minVersion: 'TLSv1.3', handshakeTimeout: HANDSHAKE_TIMEOUT_MS });

server.on('connection', (socket: Socket) => {
  const remote = remoteOf(socket);
  if (remote === null || !admit(socket, formatEndpoint(remote), siteOf(remote))) {
    counters.add('streams-refused');
    socket.destroy();
    return;
  }
  dispatch(socket);
});

/** The name in a connection's first octets says whom it is for; devices that bring datagrams give none. */
function dispatch(socket: Socket): void {
  let head: Uint8Array = new Uint8Array(0);
  const late = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT_MS);
  const read = (chunk: Buffer): void => {
    head = concat(head, chunk);
    const hello = readHelloName(head);
    if (hello === null) return;
    clearTimeout(late);
    socket.off('data', read);
    socket.pause();
    if (hello.name !== null && others.includes(hello.name)) {
      handOn(socket, hello.name, head);
      return;
    }
    limitUnsent(socket);
    socket.unshift(head);
    tls.emit('connection', socket);
  };
  socket.on('data', read);
  socket.on('error', () => {});
  socket.once('close', () => clearTimeout(late));
}

function handOn(socket: Socket, meant: string, head: Uint8Array): void {
  const descriptor = detach(socket);
  counters.add(descriptor === null ? 'streams-refused' : 'connections-handed-on');
  if (descriptor !== null) report({ meant, descriptor, head });
}

tls.on('secureConnection', (socket) => {
  const remote = remoteOf(socket);
  if (remote === null) {
    socket.destroy();
    return;
  }
  counters.add('streams-accepted');
  const site = siteOf(remote);
  const guest = new Guest(socket, counters, () => targets, {
    admits: () => strangersSay.take(site, performance.now()),
    proven: () => believe(formatEndpoint(remote)),
    closed: () => guests.delete(guest),
  });
  guests.add(guest);
});

/** A device is believed within a round trip or two: when there are too many strangers, the one that had longest goes. */
function admit(socket: Socket, name: string, site: string): boolean {
  if (!connections.take(site)) return false;
  socket.once('close', () => {
    believe(name);
    connections.release(site);
  });
  if (!strangersOf.take(site)) return false;
  strangers.set(name, { socket, site });
  if (strangers.size > limits.strangers) {
    const [oldest] = strangers;
    counters.add('streams-hung-up-unproven');
    oldest?.[1].socket.destroy();
  }
  return true;
}

function believe(name: string): void {
  const stranger = strangers.get(name);
  if (stranger === undefined) return;
  strangers.delete(name);
  strangersOf.release(stranger.site);
}

server.on('drop', () => counters.add('streams-refused'));
tls.on('tlsClientError', () => counters.add('streams-refused-tls'));

const sweep = setInterval(() => {
  const now = performance.now();
  for (const guest of guests) guest.look(now);
  report({ counters: counters.snapshot(), connections: guests.size });
}, SWEEP_MS);

parentPort!.on('message', (order: TerminalOrder) => {
  if ('targets' in order) {
    targets = order.targets;
    return;
  }
  clearInterval(sweep);
  server.close();
  for (const guest of guests) guest.close();
  parentPort!.close();
});

listenEverywhere(server, port).then(
  () => report({ listening: true }),
  (error: Error) => report({ failed: error.message }),
);
