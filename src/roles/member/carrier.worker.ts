/** The thread of a node's streams: one TLS connection and one local UDP port for each (docs/protocol.md, Over TLS). */

import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import { Counters } from '../../lib/counters.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { limitUnsent } from '../../sys/tcp.ts';
import { Carriage, Conduit } from '../carriage.ts';
import type { CarrierOrder, CarrierReport, CarrierSetup } from './carriers.ts';
import { dial, reasonOf, secure, type Way } from './dial.ts';

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
  readonly #stop = new AbortController();
  #carriage: Carriage | null = null;
  #conduit: Conduit | null = null;
  /** Asked for: then nobody wants to hear of the end. */
  #ended = false;

  constructor(way: Way) {
    this.#endpoint = way.to;
    this.#open(way).catch((error: unknown) => this.#end(reasonOf(error)));
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

  async #open(way: Way): Promise<void> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]);
    const socket = await dial(way, signal);
    limitUnsent(socket);
    // The name is checked, but not told to whoever listens on the way.
    const check = (_: string, certificate: PeerCertificate) => checkServerIdentity(serverName, certificate);
    const tls = await secure(socket, { ca: tlsRoot, servername: '', checkServerIdentity: check }, signal);
    this.#conduit = new Conduit(LOOPBACK, { address: LOOPBACK, port: udpPort }, counters, (datagram) =>
      this.#carriage?.send(datagram),
    );
    this.#carriage = new Carriage(tls, counters, {
      datagram: (datagram) => datagram.length > 0 && this.#conduit?.send(datagram),
      closed: (why) => this.#end(why),
    });
    report({ opened: this.#endpoint, local: this.#conduit.local });
  }

  #end(why: string): void {
    this.#stop.abort();
    this.#conduit?.close();
    this.#conduit = null;
    const carriage = this.#carriage;
    this.#carriage = null;
    carriage?.close(why);
    const name = formatEndpoint(this.#endpoint);
    if (streams.get(name) !== this) return;
    streams.delete(name);
    if (!this.#ended) report({ closed: this.#endpoint, why });
  }
}

/** Runs while there are streams, and once after the last of them. */
let watch: NodeJS.Timeout | undefined;

function look(): void {
  const now = performance.now();
  for (const stream of streams.values()) stream.look(now);
  report({ counters: counters.snapshot() });
  if (streams.size > 0) return;
  clearInterval(watch);
  watch = undefined;
}

parentPort!.on('message', (order: CarrierOrder) => {
  if ('connect' in order) {
    const name = formatEndpoint(order.connect.to);
    if (!streams.has(name)) streams.set(name, new Stream(order.connect));
    watch ??= setInterval(look, WATCH_MS);
  } else if ('disconnect' in order) {
    streams.get(formatEndpoint(order.disconnect))?.end();
  } else {
    clearInterval(watch);
    for (const stream of streams.values()) stream.end();
    parentPort!.close();
  }
});
