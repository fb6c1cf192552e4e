/**
 * The TRS's forwarding: datagrams with the relayed flag go from one proven address of their path to the other one, byte
 * for byte and without cryptography; what the kernel put together on receiving stays together on sending.
 */

import { wordsOf } from '../lib/bytes.ts';
import type { RelayCommand } from '../lib/path.ts';
import type { DropReason } from '../proto/drop.ts';
import { HeaderOffset, plausible } from '../proto/header.ts';
import { Flag } from '../proto/messages.ts';
import { MAX_SEGMENTS, type ReceiveBatch, SendBatch } from '../sys/mmsg.ts';
import { encodeSockaddr, isSockaddr } from '../sys/sockaddr.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { PathTable } from './table.ts';
import { type Tally, TRAFFIC_END, type TrafficCounters } from './tally.ts';

/** Places of a relayed path's counters: packets and octets that each side sent and were forwarded. */
export const relayCounter = { packets: [0, 1], bytes: [2, 3] } as const;

const MESSAGES = 256;

class RelayPath {
  readonly place: number;
  /** Proven addresses: for the kernel, and to be compared. */
  readonly sides: ({ readonly octets: Uint8Array; readonly words: readonly number[] } | null)[] = [null, null];
  /** The message of the current batch that the next datagram towards a side may join. */
  readonly messages = [-1, -1];
  round = -1;

  constructor(place: number) {
    this.place = place;
  }
}

export class Relay {
  readonly #port: DatagramPort;
  readonly #received: ReceiveBatch;
  readonly #tally: Tally;
  readonly #traffic: TrafficCounters;
  readonly #paths = new PathTable<RelayPath>();
  readonly #batch = new SendBatch(MESSAGES);
  #octets = 0;

  constructor(port: DatagramPort, received: ReceiveBatch, tally: Tally, traffic: TrafficCounters) {
    this.#port = port;
    this.#received = received;
    this.#tally = tally;
    this.#traffic = traffic;
  }

  /**
   * Forwards the datagrams of `segment` octets that begin at `at` and belong together, as many as one message takes; they
   * end at `last` at the latest. `tos`, marks of congestion above all, goes with them. Returns the octets taken: 0 if the first datagram is not to be relayed.
   */
  forward(at: number, last: number, segment: number, from: number, tos = 0): number {
    const end = Math.min(last, at + MAX_SEGMENTS * segment);
    if (!this.#isRelayed(at, Math.min(segment, end - at))) return 0;
    const { view } = this.#received.memory;
    let next = at + Math.min(segment, end - at);
    while (next < end && this.#isRelayed(next, Math.min(segment, end - next)) && sameId(view, at, next)) {
      next += Math.min(segment, end - next);
    }
    const octets = next - at;
    const dropped = this.#send(at, octets, segment, from, tos);
    if (dropped !== null) this.#tally.drop(dropped, Math.ceil(octets / segment));
    return octets;
  }

  #isRelayed(at: number, length: number): boolean {
    const { bytes } = this.#received.memory;
    return plausible(bytes, at, length) === null && (bytes[at + HeaderOffset.flags]! & Flag.relayed) !== 0;
  }

  #send(at: number, octets: number, segment: number, from: number, tos: number): DropReason | null {
    const { view, address } = this.#received.memory;
    const path = this.#paths.find(view, at + HeaderOffset.id);
    if (path === undefined) return 'relay-not-announced';
    const side = this.#sideOf(path, from);
    const destination = side < 0 ? null : path.sides[1 - side]!;
    if (destination === null) return 'relay-unproven';
    if (this.#batch.full) this.flush();
    const batch = this.#batch;
    if (path.round !== batch.round) {
      path.messages.fill(-1);
      path.round = batch.round;
    }
    const message = path.messages[1 - side]!;
    const size = Math.min(segment, octets);
    path.messages[1 - side] = batch.add(message, destination.octets, path.place, address + at, octets, size, tos);
    this.#traffic.add(path.place, relayCounter.packets[side]!, Math.ceil(octets / segment));
    this.#traffic.add(path.place, relayCounter.bytes[side]!, octets);
    this.#octets += octets;
    this.#tally.add('relayedDatagrams', Math.ceil(octets / segment));
    this.#tally.add('relayedBytes', octets);
    return null;
  }

  /** The side whose proven address this is, or -1. */
  #sideOf(path: RelayPath, from: number): number {
    for (let side = 0; side < 2; side++) {
      const bound = path.sides[side]!;
      if (bound !== null && isSockaddr(this.#received.names, from, bound.words)) return side;
    }
    return -1;
  }

  /** Sends what was forwarded; before the next batch is received. */
  flush(): void {
    const batch = this.#batch;
    if (batch.count === 0) return;
    const failed = this.#port.send(batch);
    if (failed > 0) this.#tally.drop('not-sent', failed);
    let datagrams = -failed;
    for (let i = 0; i < batch.count; i++) datagrams += batch.datagrams(i);
    this.#tally.add('udpSentDatagrams', datagrams);
    this.#tally.add('udpSentBytes', this.#octets);
    this.#octets = 0;
    batch.clear();
  }

  command(command: RelayCommand, place: number): void {
    const path = this.#paths.get(command.pathId);
    if (command.do === 'addRelay' && path === undefined) {
      this.#traffic.clear(place, 0, TRAFFIC_END);
      this.#paths.set(command.pathId, new RelayPath(place));
    } else if (command.do === 'bindSide' && path !== undefined) {
      const { endpoint } = command;
      const octets = endpoint === null ? null : encodeSockaddr(endpoint);
      path.sides[command.side] = octets === null ? null : { octets, words: wordsOf(octets) };
      path.messages.fill(-1);
    } else if (command.do === 'removeRelay') {
      this.#paths.remove(command.pathId);
    }
  }
}

function sameId(view: DataView, a: number, b: number): boolean {
  for (let i = HeaderOffset.id; i < HeaderOffset.id + 16; i += 4) {
    if (view.getInt32(a + i) !== view.getInt32(b + i)) return false;
  }
  return true;
}
