/** Datagrams without end: half random octets, half valid ones spoiled; each must keep the codec's promise. */

import { layout, plainSizes, readEnvelope } from '../../src/proto/codec.ts';
import { HEADER_LENGTH, MAX_SIGNALLING, VERSION } from '../../src/proto/constants.ts';
import { HeaderOffset, plausible } from '../../src/proto/header.ts';
import { PartBuffer } from '../../src/proto/parts.ts';
import fc from '../support/property.ts';
import { Random, spoilOne, type Tally } from '../support/spoil.ts';
import { anyDraft } from './arbitraries.ts';
import { brokenPromise } from './reencode.ts';

const LONGEST = 1500;

/** Decodes `count` datagrams; throws at the first that breaks the promise, with its octets.
 * The outcomes are `message`, `part` or a drop reason. */
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
  const length = spoilOne(buffer, corpus, random);
  if (length >= HEADER_LENGTH && random.below(8) > 0) setLength(buffer, length);
  return length;
}
