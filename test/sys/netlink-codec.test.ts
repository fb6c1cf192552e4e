import { describe, expect, it } from 'vitest';
import { formatAddress, parsePrefix } from '../../src/lib/ip.ts';
import {
  decodeError,
  decodeEvent,
  decodeMessages,
  encodeAddress,
  encodeMessage,
  encodeRoute,
  hostPrefix,
  messageType,
} from '../../src/sys/netlink-codec.ts';
import fc from '../support/property.ts';

const address = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((octets) => formatAddress(octets));
const index = fc.integer({ min: 1, max: 2 ** 31 - 1 });

function reread(type: number, body: Uint8Array) {
  const [message] = decodeMessages(encodeMessage(type, 0, 7, body));
  return decodeEvent(message!);
}

describe('rtnetlink messages', () => {
  it('say of an address what was asked for', () => {
    fc.assert(
      fc.property(address, index, (text, at) => {
        expect(reread(messageType.newAddress, encodeAddress(at, hostPrefix(text)))).toMatchObject({
          on: 'address',
          gone: false,
          address: { index: at, address: text, prefixLength: hostPrefix(text).length, unusable: false },
        });
      }),
    );
  });

  it('say of a route what was asked for', () => {
    fc.assert(
      fc.property(address, address, index, fc.nat(), (text, gateway, at, metric) => {
        const destination = parsePrefix(`${text}/24`)!;
        expect(reread(messageType.deleteRoute, encodeRoute({ destination, gateway, index: at, metric }))).toEqual({
          on: 'route',
          gone: true,
          route: { destination, gateway, index: at, metric, forwarding: true },
        });
      }),
    );
  });

  it('say what a router advertised beside what concerns the kernel', () => {
    const option = Uint8Array.fromHex('260207080064ff9b0000000000000000');
    const head = Uint8Array.fromHex('0a001000070000008600000000000000');
    const source = Uint8Array.fromHex('14000100fe800000000000000000000000000001');
    const body = Uint8Array.from([...head, ...option, ...source]);
    const type = messageType.newNeighbourOption;
    expect(reread(type, body)).toEqual({ on: 'routerOptions', index: 7, octets: option });
    // Of IPv4, of another message, shorter than it says, or of nothing.
    expect(reread(type, body.with(0, 2))).toBeNull();
    expect(reread(type, body.with(8, 133))).toBeNull();
    for (let length = 0; length < 32; length++) expect(reread(type, body.slice(0, length))).toBeNull();
    expect(reread(type, body.with(2, 0))).toBeNull();
  });

  it('are cut from any octets without reading past their end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
        const messages = decodeMessages(Buffer.from(octets));
        expect(messages.reduce((sum, { body }) => sum + 16 + body.length, 0)).toBeLessThanOrEqual(octets.length);
      }),
    );
  });

  it('are several in one read', () => {
    const one = encodeMessage(messageType.newAddress, 2, 1, encodeAddress(1, hostPrefix('192.0.2.1')));
    const two = encodeMessage(messageType.done, 2, 1, new Uint8Array(4));
    expect(decodeMessages(Buffer.concat([one, two])).map((message) => message.type)).toEqual([
      messageType.newAddress,
      messageType.done,
    ]);
  });

  it('carry an errno and the words of the kernel', () => {
    const body = Buffer.alloc(4 + 16 + 4 + 8);
    body.writeInt32LE(-101, 0);
    body.writeUInt16LE(4 + 5, 20);
    body.writeUInt16LE(1, 22);
    body.write('why?\0', 24, 'latin1');
    expect(decodeError({ type: messageType.error, flags: 0, sequence: 0, body })).toEqual({ errno: 101, text: 'why?' });
  });
});
