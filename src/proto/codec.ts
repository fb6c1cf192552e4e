/**
 * Datagram ⇄ message. Decoding has two steps with the opening of the tag between them:
 * `readEnvelope` looks at the header and the clear options, `readBody` at the opened body and the sealed options.
 * Both return a drop reason instead of throwing, and strictly: what re-encodes differently was never valid.
 */

import { Reader, Writer } from '../lib/bytes.ts';
import { raise } from '../lib/errors.ts';
import { HEADER_LENGTH, MAX_SIGNALLING } from './constants.ts';
import type { DropReason } from './drop.ts';
import { readFields, writeFields } from './fields.ts';
import { type Header, HeaderOffset, plausible, readHeader, writeHeader } from './header.ts';
import { type Body, type MessageName, messageTable } from './messages.ts';
import {
  OPTION_CRITICAL,
  OPTION_NUMBER,
  OPTION_SEALED,
  type OptionName,
  type Options,
  optionTable,
} from './options.ts';

/** Header and clear options of a datagram whose tag has not been checked: nothing here is to be believed yet. */
export type Envelope = Header & {
  readonly type: MessageName;
  readonly options: Options;
  /** Type of the first sealed option, 0 = none. */
  readonly nextSealed: number;
  /** Where the body begins: everything before is additional data. */
  readonly bodyStart: number;
};

export type MessageOf<N extends MessageName> = Header & {
  readonly type: N;
  readonly body: Body<N>;
  readonly options: Options;
};

export type Message = { [N in MessageName]: MessageOf<N> }[MessageName];

/** What a sender fills in; header defaults: flags 0, epoch 0. Sequence numbers are given out while laying out. */
export type Draft = {
  [N in MessageName]: {
    readonly type: N;
    readonly id: string;
    readonly transactionId: number;
    readonly flags?: number;
    readonly epoch?: number;
    readonly body: Body<N>;
    readonly options?: Options;
  };
}[MessageName];

/** How a cipher suite changes the size of a body: `lead` octets go before it (an IV), the rest behind. */
export type Sizes = { readonly lead: number; sealedSize(plain: number): number };

/** Sizes of messages without a tag (inside TLS). */
export const plainSizes: Sizes = { lead: 0, sealedSize: (plain) => plain };

/** One datagram ready to be sealed in place: plain body at `bodyStart + lead`, `plainLength` octets, then free room. */
export type Laid = {
  readonly bytes: Uint8Array;
  readonly bodyStart: number;
  readonly plainLength: number;
  readonly sequence: number;
};

/** Reads header and clear options of a received datagram. */
export function readEnvelope(datagram: Uint8Array): Envelope | DropReason {
  const reason = plausible(datagram, 0, datagram.length);
  if (reason !== null) return reason;
  const { nextOption, ...header } = readHeader(datagram);
  const from = new Reader(datagram, HEADER_LENGTH);
  const chain = readOptions(from, nextOption, OPTION_SEALED);
  if (typeof chain === 'string') return chain;
  return { ...header, options: chain.options, nextSealed: chain.next, bodyStart: from.at };
}

/** Reads the opened body, `plain`, which ends with the sealed options. A part of a message needs `PartBuffer` first. */
export function readBody(envelope: Envelope, plain: Uint8Array): Message | DropReason {
  const { nextSealed, bodyStart: _, ...head } = envelope;
  if (head.options.part !== undefined) return 'part-malformed';
  const from = new Reader(plain);
  const body = readFields(messageTable[head.type].body, from);
  if (from.failed) return 'body-malformed';
  const chain = readOptions(from, nextSealed, NO_TYPE);
  if (typeof chain === 'string') return chain;
  if (from.left > 0) return 'body-trailing';
  return { ...head, body, options: { ...head.options, ...chain.options } } as Message;
}

/**
 * Lays a message out as datagrams that only need sealing: one, or parts if it were longer than `maximum`. Parts of one
 * message take consecutive numbers from `nextSequence`.
 */
export function layout(
  draft: Draft,
  sizes: Sizes,
  nextSequence: () => number,
  maximum: number = MAX_SIGNALLING,
): Laid[] {
  const options = draft.options ?? {};
  if (options.part !== undefined) raise('BUG_ENCODING', { what: 'a part option in a draft' });
  const sealed = present(options, sealedOrder);
  const clear = present(options, clearOrder);
  const whole = lay(draft, clear, sealed, options, sizes);
  if (whole.length <= maximum) return [numbered(whole, nextSequence())];

  const withPart = { ...options, part: { number: 0, count: 0 } };
  const names = present(withPart, clearOrder);
  const plain = scratch.slice(whole.bodyStart + sizes.lead, whole.bodyStart + sizes.lead + whole.plainLength);
  const start = lay(draft, names, sealed, withPart, sizes).bodyStart;
  const size = largestPlain(sizes, maximum - start);
  const count = size > 0 ? Math.ceil(plain.length / size) : 0;
  if (count < 2 || count > 255) raise('BUG_ENCODING', { what: `${draft.type} of ${plain.length} octets` });
  return Array.from({ length: count }, (_, number) => {
    const slice = plain.subarray(number * size, (number + 1) * size);
    return numbered(lay(draft, names, sealed, { ...options, part: { number, count } }, sizes, slice), nextSequence());
  });
}

/** A message as it travels inside TLS: no tag, sequence number 0, never in parts. */
export function encodePlain(draft: Draft): Uint8Array {
  const [only, another] = layout(draft, plainSizes, () => 0, MAX_LENGTH);
  if (only === undefined || another !== undefined) raise('BUG_ENCODING', { what: `${draft.type} beyond 16 bits` });
  return only.bytes;
}

/** Reads one whole message that came through TLS. */
export function decodePlain(bytes: Uint8Array): Message | DropReason {
  const envelope = readEnvelope(bytes);
  if (typeof envelope === 'string') return envelope;
  if (envelope.sequence !== 0) return 'unexpected';
  return readBody(envelope, bytes.subarray(envelope.bodyStart));
}

/**
 * Octets of the first message in a TLS stream, null while too few are there to tell. Never less than a header, so that a
 * reader always advances; a length below that fails in `decodePlain`.
 */
export function loginFrameLength(stream: Uint8Array): number | null {
  if (stream.length < HeaderOffset.length + 2) return null;
  return Math.max(HEADER_LENGTH, new Reader(stream, HeaderOffset.length).u16());
}

/** Message Length is a 16-bit field. */
export const MAX_LENGTH = 0xffff;
/** A bit that no type has: the chain is read to its end. */
const NO_TYPE = 0x100;

const optionOfType: (OptionName | undefined)[] = new Array(256).fill(undefined);
for (const name of Object.keys(optionTable) as OptionName[]) optionOfType[optionTable[name].type] = name;

function numberOf(name: OptionName): number {
  return optionTable[name].type & OPTION_NUMBER;
}

/** Reads the chain that begins with `next` up to its end or to the first type with the bit `until`, which is returned. */
function readOptions(from: Reader, next: number, until: number): { options: Options; next: number } | DropReason {
  const options: Record<string, unknown> = {};
  for (let type = next, last = 0; ; ) {
    if (type === 0 || (type & until) !== 0) return { options, next: type };
    const name = optionOfType[type];
    const number = type & OPTION_NUMBER;
    if (name === undefined && (type & OPTION_CRITICAL) !== 0) return 'option-critical';
    if (number <= last) return number === last ? 'option-repeated' : 'option-order';
    const following = from.u8();
    const data = from.within(8 * from.u8() - 2);
    if (from.failed) return 'option-malformed';
    if (name !== undefined) {
      options[name] = readFields(optionTable[name].data, data);
      // What is left fills the last unit of 8 octets.
      if (data.left >= 8) return 'option-malformed';
      data.zeros(data.left);
      if (data.failed) return 'option-malformed';
    }
    last = number;
    type = following;
  }
}

const namesInOrder = (Object.keys(optionTable) as OptionName[]).sort((a, b) => numberOf(a) - numberOf(b));
const sealedOrder = namesInOrder.filter(isSealed);
const clearOrder = namesInOrder.filter((name) => !isSealed(name));

/** Those of some options that a message has, in the order they stand on the wire. */
function present(options: Options, order: readonly OptionName[]): OptionName[] {
  const names: OptionName[] = [];
  for (const name of order) if (options[name] !== undefined) names.push(name);
  return names;
}

function isSealed(name: OptionName): boolean {
  return (optionTable[name].type & OPTION_SEALED) !== 0;
}

function firstType(names: readonly OptionName[]): number {
  return names[0] === undefined ? 0 : optionTable[names[0]].type;
}

function writeOptions(to: Writer, names: readonly OptionName[], options: Options, after: number): void {
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!;
    const next = names[i + 1];
    const start = to.at;
    to.u8(next === undefined ? after : optionTable[next].type);
    to.u8(0);
    writeFields(optionTable[name].data, to, options[name]!);
    const units = Math.ceil((to.at - start) / 8);
    to.zeros(start + 8 * units - to.at);
    to.u8At(start + 1, units);
  }
}

/** Where messages are put together before they are copied into their datagrams; nothing else runs in between. */
const scratch = new Uint8Array(HEADER_LENGTH + 2 * MAX_LENGTH);

/** A datagram in `scratch` but for its tag and number; `length` is what it will have with them. */
type Scratched = {
  readonly bodyStart: number;
  readonly plainLength: number;
  readonly end: number;
  readonly length: number;
};

/** Body fields and sealed options, which a datagram carries encrypted, stand behind the clear options; `part`: this piece of them. */
function lay(
  draft: Draft,
  clear: readonly OptionName[],
  sealed: readonly OptionName[],
  options: Options,
  sizes: Sizes,
  part?: Uint8Array,
): Scratched {
  const to = new Writer(scratch, HEADER_LENGTH);
  writeOptions(to, clear, options, firstType(sealed));
  const bodyStart = to.at;
  to.zeros(sizes.lead);
  if (part === undefined) {
    writeFields(messageTable[draft.type].body, to, draft.body);
    writeOptions(to, sealed, options, 0);
  } else to.octets(part);
  const plainLength = to.at - bodyStart - sizes.lead;
  const length = bodyStart + sizes.sealedSize(plainLength);
  const { transactionId, id, flags = 0, epoch = 0 } = draft;
  const header = { transactionId, flags, sequence: 0, epoch, id };
  if (length <= MAX_LENGTH) {
    writeHeader(new Writer(scratch), draft.type, header, length, firstType(clear) || firstType(sealed));
  }
  return { bodyStart, plainLength, end: to.at, length };
}

function numbered({ bodyStart, plainLength, end, length }: Scratched, sequence: number): Laid {
  const bytes = new Uint8Array(length);
  bytes.set(scratch.subarray(0, end));
  new Writer(bytes, HeaderOffset.sequence).u32(sequence);
  return { bytes, bodyStart, plainLength, sequence };
}

/** The most plain octets whose sealed form fits in `room`; -1 if none do. */
function largestPlain(sizes: Sizes, room: number): number {
  let plain = room;
  while (plain >= 0 && sizes.sealedSize(plain) > room) plain--;
  return plain;
}
