/**
 * A cable that is slow, lossy or narrow, run in a namespace of its own: `delay-box.ts INTERFACE INTERFACE`. What comes in
 * on one goes out on the other. Lines of JSON on stdin change how: `{"delayMs":20,"lossPercent":1,"rateMbit":null,"seed":1}`.
 */

import { readSync } from 'node:fs';
import { allocate } from '../../../src/sys/memory.ts';
import { MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';
import { Poller } from '../../../src/sys/poll.ts';
import type { CableQuality } from './slow-cable.ts';

type Waiting = { readonly due: number; readonly frame: Uint8Array };

const memory = allocate(MAX_FRAME);

/** Frames of one direction, in the order of their arrival. */
class Direction {
  readonly #from: PacketSocket;
  readonly #to: PacketSocket;
  readonly #queue: Waiting[] = [];
  /** When the last frame will have passed a cable of limited rate. */
  #free = 0;

  constructor(from: PacketSocket, to: PacketSocket) {
    this.#from = from;
    this.#to = to;
  }

  take({ delayMs, lossPercent, rateMbit }: CableQuality, now: number): void {
    for (let length = this.#from.receive(memory); length > 0; length = this.#from.receive(memory)) {
      if (random() * 100 < lossPercent) continue;
      this.#free = Math.max(this.#free, now) + (rateMbit === null ? 0 : (length * 8) / (rateMbit * 1000));
      this.#queue.push({ due: this.#free + delayMs, frame: memory.bytes.slice(0, length) });
    }
  }

  /** Sends what is due and returns when the next frame will be. */
  give(now: number): number {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (next.due > now) return next.due;
      memory.bytes.set(next.frame);
      this.#to.send(memory, next.frame.length);
      this.#queue.shift();
    }
    return Number.POSITIVE_INFINITY;
  }
}

let state = 1;

/** xorshift32: the same losses for the same seed and traffic. */
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

let quality: CableQuality = { delayMs: 0, lossPercent: 0, rateMbit: null, seed: 1 };
let input = '';

/** False once stdin has ended. */
function readOrders(): boolean {
  const chunk = Buffer.alloc(4096);
  const length = readSync(0, chunk);
  input += chunk.toString('utf8', 0, length);
  const lines = input.split('\n');
  input = lines.pop() ?? '';
  for (const line of lines) {
    quality = JSON.parse(line) as CableQuality;
    // Small seeds spread over the whole word; a state of zero would stay zero.
    state = Math.imul(quality.seed, 0x9e3779b1) | 1;
    process.stdout.write(`set ${line}\n`);
  }
  return length > 0;
}

const [left = '', right = ''] = process.argv.slice(2);
const a = new PacketSocket(left);
const b = new PacketSocket(right);
const directions = [new Direction(a, b), new Direction(b, a)];
const poller = new Poller([a.fd, b.fd, 0]);
process.stdout.write('ready\n');

for (;;) {
  const now = performance.now();
  for (const direction of directions) direction.take(quality, now);
  const next = Math.min(...directions.map((direction) => direction.give(now)));
  poller.wait(next === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(next - performance.now())));
  if (poller.ready(2) && !readOrders()) break;
}
