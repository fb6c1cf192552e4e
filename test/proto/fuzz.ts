/** Datagrams without end: half random octets, half valid ones spoiled; each must keep the codec's promise. */

import fc from 'fast-check';
import { layout, plainSizes, readEnvelope } from '../../src/proto/codec.ts';
import { HEADER_LENGTH, MAX_SIGNALLING, VERSION } from '../../src/proto/constants.ts';
import { HeaderOffset, plausible } from '../../src/proto/header.ts';
import { PartBuffer } from '../../src/proto/parts.ts';
import { anyDraft } from './arbitraries.ts';
import { brokenPromise } from './reencode.ts';

const LONGEST = 1500;

/** xorshift32 (Marsaglia 2003): quick, and the same for one seed everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  below(limit: number): number {
    return this.u32() % limit;
  }
}

/** How often each outcome came: `message`, `part` or a drop reason. */
export type Tally = Map<string, number>;

/** Decodes `count` datagrams; throws at the first that breaks the promise, with its octets. */
export function fuzz(count: number, seed: number, tally: Tally = new Map()): Tally {
  const random = new Random(seed);
  const corpus = validDatagrams(seed);
  const words = new Uint32Array(LONGEST / 4);
  const buffer = new Uint8Array(words.buffer);
  const parts = new PartBuffer();
  for (let i = 0; i < count; i++) {
    const length = i % 2 === 0 ? fillRandomly(words, buffer, random) : spoil(buffer, corpus, random);
    const outcome = decodeOnce(buffer.subarray(0, length), parts, i);
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
  }
  return tally;
}

function validDatagrams(seed: number): Uint8Array[] {
  return fc.sample(anyDraft, { numRuns: 1000, seed }).flatMap((draft, i) => {
    let sequence = 1000 * i;
    return layout(draft, plainSizes, () => sequence++, MAX_SIGNALLING).map((laid) => laid.bytes);
  });
}

function decodeOnce(datagram: Uint8Array, parts: PartBuffer, at: number): string {
  const refused = plausible(datagram, 0, datagram.length);
  const envelope = readEnvelope(datagram);
  if (typeof envelope === 'string') {
    if (refused !== null && refused !== envelope)
      fail(datagram, `${refused} by the header, ${envelope} by the envelope`);
    return envelope;
  }
  if (refused !== null) fail(datagram, `${refused} by the header, but an envelope`);
  const sender = `sender ${at % 100}`;
  const result = parts.receive(sender, envelope, datagram.subarray(envelope.bodyStart), { ms: at, wall: 0 });
  if (result === null) return 'part';
  const broken = envelope.options.part === undefined ? brokenPromise(datagram, result) : null;
  if (broken !== null) fail(datagram, broken);
  return typeof result === 'string' ? result : 'message';
}

function fail(datagram: Uint8Array, why: string): never {
  throw new Error(`${why}: ${datagram.toHex()}`);
}

function setLength(datagram: Uint8Array, length: number): void {
  datagram[HeaderOffset.length] = length >> 8;
  datagram[HeaderOffset.length + 1] = length & 255;
}

/** Random octets, most of them with a header that lets the decoder go on. */
function fillRandomly(words: Uint32Array, buffer: Uint8Array, random: Random): number {
  const length = random.below(LONGEST + 1);
  for (let i = 0; 4 * i < length; i++) words[i] = random.u32();
  if (length >= HEADER_LENGTH && random.below(4) > 0) {
    buffer[HeaderOffset.version] = VERSION;
    buffer[HeaderOffset.type] = 1 + random.below(16);
    buffer[HeaderOffset.count] = 0;
    if (random.below(2) === 0) buffer[HeaderOffset.nextOption] = 0;
    setLength(buffer, length);
  }
  return length;
}

/** A valid datagram with one to four faults; mostly with a Message Length that agrees, so that deeper checks are reached. */
function spoil(buffer: Uint8Array, corpus: readonly Uint8Array[], random: Random): number {
  const pick = (): Uint8Array => corpus[random.below(corpus.length)]!;
  const valid = pick();
  buffer.set(valid);
  let length = valid.length;
  for (let faults = 1 + random.below(4); faults > 0; faults--) {
    const at = random.below(length + 1);
    switch (random.below(6)) {
      case 0:
        buffer[at]! ^= 1 << random.below(8);
        break;
      case 1:
        buffer[at] = random.u32();
        break;
      case 2:
        length = at;
        break;
      case 3: {
        // Octets of another datagram, from the same place.
        const other = pick().subarray(at, at + 1 + random.below(64));
        buffer.set(other, at);
        break;
      }
      case 4: {
        // Units of 8 octets inserted, as a new option would be.
        const size = Math.min(8 * (1 + random.below(3)), LONGEST - length);
        buffer.copyWithin(at + size, at, length);
        length += size;
        break;
      }
      default: {
        const size = Math.min(1 + random.below(16), length - at);
        buffer.copyWithin(at, at + size, length);
        length -= size;
      }
    }
  }
  if (length >= HEADER_LENGTH && random.below(8) > 0) setLength(buffer, length);
  return length;
}
