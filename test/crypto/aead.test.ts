import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Aead } from '../../src/crypto/aead.ts';
import { nodePrimitives } from '../../src/crypto/node.ts';
import { readableAead } from '../../src/crypto/readable.ts';
import { Suite, suiteNames } from '../../src/proto/constants.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { hex, readVectors } from '../vectors/read.ts';

type AeadVector = { readonly [k in 'name' | 'key' | 'nonce' | 'aad' | 'plain' | 'sealed' | 'tag']: string };
type MacVector = { readonly [k in 'name' | 'key' | 'data' | 'mac']: string };

const { random } = nodePrimitives(readableAead);
const factories = { evp: evpAead, readable: readableAead };
const suites = Object.values(Suite);

/** `aad`, room for the lead, `plain`, room for the rest, with `before` and `after` octets around that must stay. */
function layOut(aead: Aead, aad: Uint8Array, plain: Uint8Array, before = 0, after = 0) {
  const bodyStart = before + aad.length;
  const end = bodyStart + aead.sealedSize(plain.length);
  const buffer = new Uint8Array(end + after).fill(0xa5);
  buffer.set(aad, before);
  buffer.set(plain, bodyStart + aead.lead);
  return { buffer, aadStart: before, bodyStart, end };
}

function sealed(aead: Aead, aad: Uint8Array, plain: Uint8Array, sequence: number): Uint8Array {
  const { buffer, bodyStart } = layOut(aead, aad, plain);
  aead.seal(buffer, 0, bodyStart, plain.length, sequence);
  return buffer;
}

function opened(aead: Aead, datagram: Uint8Array, aadLength: number, sequence: number): Uint8Array | null {
  const buffer = datagram.slice();
  const length = aead.open(buffer, 0, aadLength, buffer.length, sequence);
  return length < 0 ? null : buffer.slice(aadLength + aead.lead, aadLength + aead.lead + length);
}

const ciphers = { 'aes-256-gcm': Suite.aes256Gcm, 'chacha20-poly1305': Suite.chacha20Poly1305 } as const;
for (const [name, suite] of Object.entries(ciphers)) {
  describe(`published vectors of ${name}`, () => {
    for (const vector of readVectors<AeadVector>(name)) {
      // What both of our implementations are compared with is right.
      test(`${vector.name}, node:crypto`, () => {
        const cipher = createCipheriv(name as 'chacha20-poly1305', hex(vector.key), hex(vector.nonce), {
          authTagLength: 16,
        });
        cipher.setAAD(hex(vector.aad), { plaintextLength: vector.plain.length / 2 });
        const text = Buffer.concat([cipher.update(hex(vector.plain)), cipher.final()]);
        expect(text.toString('hex') + cipher.getAuthTag().toString('hex')).toBe(vector.sealed + vector.tag);
      });

      // Our nonces begin with 8 zero octets: not every published one can be had.
      if (!vector.nonce.startsWith('0'.repeat(16))) continue;
      test.each(Object.entries(factories))(`${vector.name}, %s`, (_, factory) => {
        const aead = factory(suite, hex(vector.key));
        const sequence = Number.parseInt(vector.nonce.slice(16), 16);
        const aad = hex(vector.aad);
        const datagram = sealed(aead, aad, hex(vector.plain), sequence);
        expect(datagram.toHex()).toBe(vector.aad + vector.sealed + vector.tag);
        expect(opened(aead, datagram, aad.length, sequence)?.toHex()).toBe(vector.plain);
      });
    }
  });
}

describe('cbc-md5', () => {
  test.each(readVectors<MacVector>('hmac-md5'))('HMAC-MD5, RFC 2202 $name, node:crypto', (vector) => {
    expect(createHmac('md5', hex(vector.key)).update(hex(vector.data)).digest('hex')).toBe(vector.mac);
  });

  test.each(Object.entries(factories))('is what the protocol says, step by step (%s)', (_, factory) => {
    const key = random(32);
    const [aad, plain] = [random(40), random(100)];
    const datagram = sealed(factory(Suite.cbcMd5, key), aad, plain, 1);
    const keyFor = (use: string) => Buffer.from(hkdfSync('sha256', key, '', `cyphonic cbc-md5 ${use}`, 32));
    const [iv, text, tag] = [datagram.subarray(40, 56), datagram.subarray(56, -16), datagram.subarray(-16)];
    const mac = createHmac('md5', keyFor('mac')).update(datagram.subarray(0, -16)).digest();
    expect(Buffer.compare(mac, tag)).toBe(0);
    const decipher = createDecipheriv('aes-256-cbc', keyFor('cipher'), iv);
    expect(Buffer.compare(Buffer.concat([decipher.update(text), decipher.final()]), plain)).toBe(0);
  });

  test.each(Object.entries(factories))('draws a fresh IV each time (%s)', (_, factory) => {
    const aead = factory(Suite.cbcMd5, random(32));
    const plain = new Uint8Array(16);
    const seen = new Set(Array.from({ length: 50 }, () => sealed(aead, plain, plain, 1).toHex()));
    expect(seen.size).toBe(50);
  });

  test.each(Object.entries(factories))('refuses wrong padding under a right tag (%s)', (_, factory) => {
    const key = random(32);
    const keyFor = (use: string) => Buffer.from(hkdfSync('sha256', key, '', `cyphonic cbc-md5 ${use}`, 32));
    const cipher = createCipheriv('aes-256-cbc', keyFor('cipher'), Buffer.alloc(16)).setAutoPadding(false);
    const body = Buffer.concat([Buffer.alloc(16), cipher.update(Buffer.alloc(32, 0x77)), cipher.final()]);
    const datagram = new Uint8Array(Buffer.concat([body, createHmac('md5', keyFor('mac')).update(body).digest()]));
    expect(opened(factory(Suite.cbcMd5, key), datagram, 0, 1)).toBeNull();
  });
});

describe.each(suites.map((suite) => [suiteNames[suite], suite] as const))('%s', (_, suite) => {
  const key = random(32);
  const pairs = [
    [evpAead(suite, key), readableAead(suite, key)],
    [readableAead(suite, key), evpAead(suite, key)],
    [evpAead(suite, key), evpAead(suite, key)],
  ] as const;

  test('what one implementation seals, the other opens: every small size and random large ones', () => {
    const sizes = [...Array(70).keys(), 1399, 1400, 1401, 16_384, 65_000];
    const dice = new DataView(random(80).buffer);
    for (let i = 0; i < 20; i++) sizes.push(dice.getUint32(4 * i) % 65_001);
    for (const size of sizes) {
      const aad = random(size % 90);
      const plain = random(size);
      const sequence = size === 0 ? 2 ** 32 - 1 : size;
      for (const [sealer, opener] of pairs) {
        const before = (size % 13) + 1;
        const { buffer, aadStart, bodyStart, end } = layOut(sealer, aad, plain, before, 7);
        expect(sealer.sealedSize(size)).toBe(opener.sealedSize(size));
        expect(sealer.seal(buffer, aadStart, bodyStart, size, sequence)).toBe(end);
        expect(Buffer.compare(buffer.subarray(aadStart, bodyStart), aad)).toBe(0);
        expect(opener.open(buffer, aadStart, bodyStart, end, sequence)).toBe(size);
        const text = bodyStart + opener.lead;
        expect(Buffer.compare(buffer.subarray(text, text + size), plain)).toBe(0);
        expect(buffer.subarray(0, before).every((octet) => octet === 0xa5)).toBe(true);
        expect(buffer.subarray(end).every((octet) => octet === 0xa5)).toBe(true);
      }
    }
  });

  if (suite !== Suite.cbcMd5) {
    test('both implementations seal to the same octets', () => {
      const [aad, plain] = [random(32), random(1400)];
      const [a, b] = pairs[0].map((aead) => sealed(aead, aad, plain, 0x0102_0304)) as [Uint8Array, Uint8Array];
      expect(Buffer.compare(a, b)).toBe(0);
    });
  }

  for (const [name, factory] of Object.entries(factories)) {
    test(`${name} refuses every flipped bit, every truncation and another key`, () => {
      const aead = factory(suite, key);
      const [aad, plain] = [random(33), random(21)];
      const datagram = sealed(aead, aad, plain, 9);
      for (let bit = 0; bit < 8 * datagram.length; bit++) {
        const altered = datagram.slice();
        altered[bit >> 3]! ^= 1 << (bit & 7);
        expect(opened(aead, altered, aad.length, 9)).toBeNull();
      }
      for (let length = aad.length; length < datagram.length; length++) {
        expect(opened(aead, datagram.subarray(0, length), aad.length, 9)).toBeNull();
      }
      expect(opened(aead, datagram, aad.length - 1, 9)).toBeNull();
      expect(opened(factory(suite, random(32)), datagram, aad.length, 9)).toBeNull();
      expect(opened(aead, datagram, aad.length, 9)).toEqual(plain);
    });

    test(`${name} leaves the caller's key alone`, () => {
      const own = random(32);
      const copy = own.slice();
      const aead = factory(suite, own);
      const datagram = sealed(aead, new Uint8Array(1), copy, 1);
      aead.close();
      expect(own).toEqual(copy);
      own.fill(0);
      expect(opened(factory(suite, copy), datagram, 1, 1)).toEqual(copy);
    });

    test(`${name} refuses a key of another length`, () => {
      expect(() => factory(suite, random(31))).toThrow('a key of 31 octets');
    });

    if (suite !== Suite.cbcMd5) {
      test(`${name} refuses another sequence number`, () => {
        const aead = factory(suite, key);
        const datagram = sealed(aead, random(32), random(50), 9);
        for (let bit = 0; bit < 32; bit++) expect(opened(aead, datagram, 32, (9 ^ (1 << bit)) >>> 0)).toBeNull();
        expect(opened(aead, datagram, 32, 9)).not.toBeNull();
      });
    }
  }
});
