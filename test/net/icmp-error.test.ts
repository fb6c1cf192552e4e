import { describe, expect, it } from 'vitest';
import { decodeIp, encodeIp, encodeUdp, transportValid } from '../../src/net/datagram.ts';
import { icmpError } from '../../src/net/icmp-error.ts';
import { internetChecksum } from '../pipeline/packets.ts';
import { decoded } from './support/link.ts';

const packet = (source: string, destination: string, payload = 8): Uint8Array =>
  encodeUdp({ source, destination, sourcePort: 1, destinationPort: 2, payload: new Uint8Array(payload) });
const four = packet('100.80.0.5', '192.0.2.1');
const six = packet('fd00:80::5', '2001:db8::1');

const icmp = (source: string, destination: string, protocol: number, type: number): Uint8Array =>
  encodeIp({ source, destination, protocol, hopLimit: 1, payload: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0) });

describe('an ICMP error', () => {
  it.each([
    ['prohibited', four, '100.80.0.1', 1, 3, 13],
    ['unreachable', four, '100.80.0.1', 1, 3, 1],
    ['prohibited', six, 'fd00:80::1', 58, 1, 1],
    ['unreachable', six, 'fd00:80::1', 58, 1, 3],
  ] as const)('%s goes back to the source', (kind, about, from, protocol, type, code) => {
    const error = decoded(decodeIp(icmpError(about, from, { kind })!));
    const original = decoded(decodeIp(about));
    expect(error).toMatchObject({ source: from, destination: original.source, protocol });
    expect([...error.payload.subarray(0, 2)]).toEqual([type, code]);
    expect([...error.payload.subarray(4, 8)]).toEqual([0, 0, 0, 0]);
    expect(error.payload.subarray(8)).toEqual(about);
    if (protocol === 58) expect(transportValid(error)).toBe(true);
    else expect(internetChecksum([...error.payload])).toBe(0);
  });

  it.each([
    [packet('100.80.0.5', '100.80.3.9', 1400), '100.80.0.1', 3, 4, 576],
    [packet('fd00:80::5', 'fd00:80::9', 1400), 'fd00:80::1', 2, 0, 1280],
  ])('too big names the MTU and is no longer than it may be', (about, from, type, code, length) => {
    const octets = icmpError(about, from, { kind: 'tooBig', mtu: 1400 })!;
    const { payload } = decoded(decodeIp(octets));
    expect(octets.length).toBe(length);
    expect([...payload.subarray(0, 2), ...payload.subarray(4, 8)]).toEqual([type, code, 0, 0, 1400 >> 8, 1400 & 255]);
  });

  it('answers an echo request', () => {
    expect(icmpError(icmp('100.80.0.5', '100.80.3.9', 1, 8), '100.80.0.1', { kind: 'prohibited' })).not.toBeNull();
    expect(icmpError(icmp('fd00:80::5', 'fd00:80::9', 58, 128), 'fd00:80::1', { kind: 'prohibited' })).not.toBeNull();
  });

  const later = Uint8Array.from(four);
  later[7] = 1;
  const behindOptions = encodeIp({
    source: 'fd00:80::5',
    destination: 'fd00:80::9',
    protocol: 60,
    hopLimit: 1,
    payload: Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 9, 1, 0, 0, 0),
  });
  const echoBehindOptions = Uint8Array.from(behindOptions);
  echoBehindOptions[56] = 128;

  it.each([
    ['an error', icmp('100.80.0.5', '100.80.3.9', 1, 3)],
    ['an error over IPv6', icmp('fd00:80::5', 'fd00:80::9', 58, 1)],
    ['an error behind extension headers', behindOptions],
    ['a redirect', icmp('fd00:80::5', 'fd00:80::9', 58, 137)],
    ['a later fragment', later],
    ['something to a group', packet('100.80.0.5', '224.0.0.1')],
    ['something to everybody', packet('100.80.0.5', '255.255.255.255')],
    ['something to a group over IPv6', packet('fd00:80::5', 'ff02::1')],
    ['nobody', packet('0.0.0.0', '192.0.2.1')],
    ['a group', packet('224.0.0.1', '192.0.2.1')],
    ['nobody over IPv6', packet('::', '2001:db8::1')],
    ['a group over IPv6', packet('ff02::1', '2001:db8::1')],
    ['half a packet', four.subarray(0, 30)],
    ['nothing', new Uint8Array(0)],
  ])('never answers %s', (_, about) => {
    expect(icmpError(about, about[0] === 0x60 ? 'fd00:80::1' : '100.80.0.1', { kind: 'prohibited' })).toBeNull();
  });

  it('says too big also to a group over IPv6, and looks behind extension headers', () => {
    const multicast = packet('fd00:80::5', 'ff0e::1');
    expect(icmpError(multicast, 'fd00:80::1', { kind: 'tooBig', mtu: 1280 })).not.toBeNull();
    expect(icmpError(echoBehindOptions, 'fd00:80::1', { kind: 'unreachable' })).not.toBeNull();
  });
});
