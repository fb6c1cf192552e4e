/** Two devices whose applications want to talk: one asks, the other one answers, or both just talk. */

import type { Clock } from './clock.ts';
import type { SimNode } from './node.ts';
import { makePacket } from './packet.ts';
import type { Random } from './random.ts';

/** Packet numbers of the second end begin here. */
const SECOND = 2 ** 31;
const INTERVAL_MS = [2_000, 7_000] as const;

export class Pair {
  readonly number: number;
  readonly first: SimNode;
  readonly second: SimNode;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #family: 'vip4' | 'vip6';
  readonly #byName: boolean;
  readonly #bothTalk: boolean;
  /** Milliseconds between two packets. */
  readonly #interval: number;
  /** The next packet of each end. */
  readonly #next: [number, number] = [0, 0];
  /** Numbers from here on count; null = none do yet. */
  #from: [number, number] | null = null;
  readonly #heard: [boolean, boolean] = [false, false];
  /** Answers of the resolver that name somebody else. */
  readonly wrong: string[] = [];

  /** When each end heard the other last, while watched (ms). */
  #heardAt: [number, number] | null = null;
  #silence = 0;

  /** `interval`: least and most time between two packets (ms). */
  constructor(
    number: number,
    first: SimNode,
    second: SimNode,
    clock: Clock,
    random: Random,
    interval: readonly [number, number] = INTERVAL_MS,
  ) {
    this.number = number;
    this.first = first;
    this.second = second;
    this.#clock = clock;
    this.#random = random;
    this.#family = random.chance(0.5) ? 'vip4' : 'vip6';
    this.#byName = random.chance(0.5);
    this.#bothTalk = random.chance(0.3);
    this.#interval = random.between(...interval);
  }

  /** Whether each end heard something that the other one said since it counts. */
  get talks(): boolean {
    return this.#heard[0] && this.#heard[1];
  }

  has(node: SimNode): boolean {
    return node === this.first || node === this.second;
  }

  start(): void {
    this.#talk(0);
    if (this.#bothTalk) this.#clock.after(this.#random.between(0, 1_000), () => this.#talk(1));
  }

  /** From now on what is said must be heard. */
  expect(): void {
    this.#from = [...this.#next];
  }

  /** From now on each end has to hear the other again and again. */
  watch(): void {
    this.#heardAt = [this.#clock.ms, this.#clock.ms];
  }

  /** The longest time that an end heard nothing, while watched (ms). */
  get silence(): number {
    const since = (this.#heardAt ?? []).map((ms) => this.#clock.ms - ms);
    return Math.max(this.#silence, ...since);
  }

  delivered(node: SimNode, number: number): void {
    const sender = number >= SECOND ? 1 : 0;
    if (node !== (sender === 0 ? this.second : this.first)) {
      this.wrong.push(`a packet of pair ${this.number} came out at ${node.device.deviceId}`);
    }
    if (this.#heardAt !== null) {
      this.#silence = this.silence;
      this.#heardAt[1 - sender] = this.#clock.ms;
    }
    if (this.#from !== null && number % SECOND >= this.#from[sender]) this.#heard[sender] = true;
    if (sender === 0 && !this.#bothTalk) this.#say(1);
  }

  describe(): string {
    const [there, back] = this.#heard.map((heard) => (heard ? 'heard' : 'not heard'));
    const ends = [this.first, this.second].map((node) => {
      const { segment, address4, address6 } = node.host;
      const nat = segment.router?.nat.type ?? 'no NAT';
      return `${node.device.deviceId} (${segment.name}, ${nat}, ${address4}, ${address6}, ${node.lives} lives)`;
    });
    return `pair ${this.number}: ${ends.join(' and ')}: there ${there}, back ${back}`;
  }

  #talk(end: 0 | 1): void {
    const isWatched = this.#heardAt !== null;
    if (isWatched || !(this.talks && this.#random.chance(0.5))) this.#open(end);
    this.#clock.after(this.#interval * this.#random.between(0.8, 1.2), () => this.#talk(end));
  }

  #open(end: 0 | 1): void {
    const [node, peer] = end === 0 ? [this.first, this.second] : [this.second, this.first];
    if (!this.#byName) {
      this.#say(end);
      return;
    }
    node.resolve(peer.device.fqdn, (result) => {
      if (result.status !== 'found') return;
      const { fqdn, nodeId, vip4, vip6 } = peer.device;
      if (result.fqdn !== fqdn || result.nodeId !== nodeId || result.vip4 !== vip4 || result.vip6 !== vip6) {
        this.wrong.push(`${node.device.deviceId} was told that ${fqdn} is ${JSON.stringify(result)}`);
      }
      this.#say(end);
    });
  }

  #say(end: 0 | 1): void {
    const [node, peer] = end === 0 ? [this.first, this.second] : [this.second, this.first];
    if (!node.isUp) return;
    const number = this.#next[end]++ + end * SECOND;
    node.send(makePacket(node.device[this.#family]!, peer.device[this.#family]!, this.number, number));
  }
}
