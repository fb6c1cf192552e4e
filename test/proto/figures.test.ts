import { describe, expect, it } from 'vitest';
import { type Draft, layout, plainSizes, readBody, readEnvelope, type Sizes } from '../../src/proto/codec.ts';
import { HEADER_LENGTH } from '../../src/proto/constants.ts';
import type { Options } from '../../src/proto/options.ts';
import { aeadSizes, messageNames, optionNames } from './arbitraries.ts';
import { chained, figures, hex, optionFigures } from './figures.ts';

function open(datagram: Uint8Array, sizes: Sizes): unknown {
  const envelope = readEnvelope(datagram);
  if (typeof envelope === 'string') return envelope;
  return readBody(envelope, datagram.subarray(envelope.bodyStart, datagram.length - sizes.sealedSize(0)));
}

describe('figures drawn by hand', () => {
  it.each(messageNames)('%s', (name) => {
    const { draft, sequence, bytes } = figures[name];
    const sizes = name.startsWith('login') ? plainSizes : aeadSizes;
    const datagram = hex(bytes);
    const [laid] = layout(draft, sizes, () => sequence);
    expect(laid!.bytes.toHex()).toBe(datagram.toHex());
    expect(open(datagram, sizes)).toEqual({ flags: 0, epoch: 0, options: {}, ...draft, sequence });
  });

  it.each(optionNames.filter((name) => name !== 'part'))('option %s', (name) => {
    const [value, bytes] = optionFigures[name];
    const options: Options = { [name]: value };
    const draft: Draft = { type: 'ack', id: '0'.repeat(32), transactionId: 1, body: {}, options };
    const [laid] = layout(draft, plainSizes, () => 1);
    expect(laid!.bytes.subarray(HEADER_LENGTH).toHex()).toBe(hex(bytes).toHex());
    expect(open(laid!.bytes, plainSizes)).toMatchObject({ options });
  });

  it('a chain from the clear to the sealed', () => {
    const [laid] = layout(chained.message as Draft, aeadSizes, () => chained.message.sequence);
    expect(laid!.bytes.toHex()).toBe(hex(chained.bytes).toHex());
    expect(laid!.bodyStart).toBe(80);
    expect(laid!.plainLength).toBe(32);
    expect(open(hex(chained.bytes), aeadSizes)).toEqual(chained.message);
  });
});
