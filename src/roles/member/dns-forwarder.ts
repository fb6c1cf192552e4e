/** Names outside the overlay: asked of the host's former name servers, each try from a fresh random port under a fresh random id. */

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Counters } from '../../lib/counters.ts';
import { contains, type Endpoint, familyOf, formatEndpoint, type Prefix } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { encodeResponse, inspectAnswer, type Query, rcode, withId } from '../../net/dns.ts';
import { DnsStream, frame } from './dns-stream.ts';

export type Transport = 'udp' | 'tcp';

type ForwarderOptions = {
  readonly overlay: readonly Prefix[];
  readonly log: Log;
  readonly counters: Counters;
};

const TRY_MS = 1500;
/** A stub gives up after 5 s (resolv.conf(5)) and has to hear of a failure before. */
const ALL_TRIES_MS = 4500;
const ROUNDS = 2;
const MAX_CONCURRENT = 256;

export class DnsForwarder {
  readonly #options: ForwarderOptions;
  readonly #closed = new AbortController();
  #upstreams: readonly Endpoint[] = [];
  #preferred = 0;
  #concurrent = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  set upstreams(upstreams: readonly Endpoint[]) {
    this.#upstreams = upstreams;
    this.#preferred = 0;
  }

  /** The answer for the client, SERVFAIL if there is none. `octets` is the query as it came. */
  async forward(octets: Uint8Array, query: Query, transport: Transport): Promise<Uint8Array> {
    const failure = (): Uint8Array => encodeResponse(query, { rcode: rcode.servFail });
    if (this.#concurrent >= MAX_CONCURRENT) {
      this.#options.counters.add('dns_forward_overload');
      return failure();
    }
    this.#concurrent++;
    try {
      return (await this.#tryAll(octets, query, transport)) ?? failure();
    } finally {
      this.#concurrent--;
    }
  }

  close(): void {
    this.#closed.abort();
  }

  async #tryAll(octets: Uint8Array, query: Query, transport: Transport): Promise<Uint8Array | null> {
    const { overlay, log, counters } = this.#options;
    const upstreams = this.#upstreams;
    const allTries = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(ALL_TRIES_MS)]);
    let refusal: Uint8Array | null = null;
    for (let i = 0; i < ROUNDS * upstreams.length && !allTries.aborted; i++) {
      const turn = (this.#preferred + i) % upstreams.length;
      const upstream = upstreams[turn]!;
      const id = randomInt(65536);
      const ask = transport === 'udp' ? askUdp : askTcp;
      const tryEnds = AbortSignal.any([allTries, AbortSignal.timeout(TRY_MS)]);
      const response = await ask(upstream, withId(octets, id), (o) => inspectAnswer(o, query, id) !== null, tryEnds);
      if (response === null) continue;
      const content = inspectAnswer(response, query, id)!;
      if (content.addresses.some((address) => overlay.some((range) => contains(range, address)))) {
        // DNS rebinding: a name outside the overlay must not lead a browser to a device inside it.
        counters.add('dns_rebinding_dropped');
        log.warn('dropped a DNS answer with an overlay address', {
          name: query.name,
          upstream: formatEndpoint(upstream),
        });
        return null;
      }
      const answer = withId(response, query.id);
      if (content.rcode !== rcode.servFail && content.rcode !== rcode.refused) {
        this.#preferred = turn;
        return answer;
      }
      // Another server may know more; if none does, this is the answer.
      refusal = answer;
    }
    return refusal;
  }
}

type Ask = (
  upstream: Endpoint,
  octets: Uint8Array,
  isAnswer: (octets: Uint8Array) => boolean,
  ends: AbortSignal,
) => Promise<Uint8Array | null>;

/** Anything that isn't the answer is passed over: it may be a forger's, and the right one still to come. */
const askUdp: Ask = (upstream, octets, isAnswer, ends) =>
  new Promise((resolve) => {
    const socket = createSocket({ type: familyOf(upstream.address) === 4 ? 'udp4' : 'udp6', signal: ends });
    const finish = (answer: Uint8Array | null): void => {
      resolve(answer);
      socket.removeAllListeners('message').close();
    };
    socket.once('error', () => finish(null));
    socket.once('close', () => resolve(null));
    socket.on('message', (answer) => isAnswer(answer) && finish(answer));
    // A connected socket takes datagrams from this server's port only, and hears that nobody listens there.
    socket.once('connect', () => socket.send(octets));
    socket.connect(upstream.port, upstream.address);
  });

const askTcp: Ask = (upstream, octets, isAnswer, ends) =>
  new Promise((resolve) => {
    const socket = connect({ host: upstream.address, port: upstream.port, signal: ends });
    const stream = new DnsStream();
    const finish = (answer: Uint8Array | null): void => {
      resolve(answer);
      socket.destroy();
    };
    socket.on('error', () => finish(null));
    socket.once('close', () => finish(null));
    socket.on('data', (chunk) => {
      const answer = stream.push(chunk as Buffer).find(isAnswer);
      if (answer !== undefined) finish(answer);
    });
    socket.write(frame(octets));
  });
