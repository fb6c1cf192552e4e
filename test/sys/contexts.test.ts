import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readableAead } from '../../src/crypto/readable.ts';
import { Suite, suiteNames } from '../../src/proto/constants.ts';
import { Contexts, MOST_CONTEXTS } from '../../src/sys/contexts.ts';
import { borrowingAead, type EvpAead, evpAead } from '../../src/sys/evp.ts';
import { KEY_ROOM, KeyMemory } from '../../src/sys/key-memory.ts';
import { allocate, memoryAt } from '../../src/sys/memory.ts';

/** More than there are contexts. */
const KEYS = 3 * MOST_CONTEXTS;
const AAD = 4;
const PLAIN = 20;

const keyNumber = (n: number): Uint8Array => new Uint8Array(32).map((_, i) => (n >> (8 * (i % 4))) & 255);
const plain = new Uint8Array(PLAIN).map((_, i) => 7 * i);

/** A buffer with something to seal for `aead`. */
function message(aead: { readonly lead: number }): Uint8Array {
  const buffer = new Uint8Array(128);
  buffer.set(plain, AAD + aead.lead);
  return buffer;
}

function sealed(aead: EvpAead, sequence: number): Uint8Array {
  const buffer = message(aead);
  return buffer.slice(0, aead.seal(buffer, 0, AAD, PLAIN, sequence));
}

function opens(aead: { open: EvpAead['open'] }, octets: Uint8Array, sequence: number): boolean {
  return aead.open(octets.slice(), 0, AAD, octets.length, sequence) === PLAIN;
}

describe.each(Object.values(Suite).map((suite) => [suiteNames[suite], suite] as const))('%s', (_, suite) => {
  it('seals and opens under each of many keys in turn, each with its own', () => {
    const keys = Array.from({ length: KEYS }, (_, n) => evpAead(suite, keyNumber(n)));
    for (let round = 1; round <= 2; round++) {
      for (const [n, aead] of keys.entries()) {
        const octets = sealed(aead, round);
        expect(opens(readableAead(suite, keyNumber(n)), octets, round)).toBe(true);
        expect(opens(aead, octets, round)).toBe(true);
        expect(opens(keys[(n + 1) % KEYS]!, octets, round)).toBe(false);
      }
    }
    for (const aead of keys) aead.close();
  });

  it('takes no key for another that was where it is now', () => {
    for (let n = 0; n < 2 * MOST_CONTEXTS; n++) {
      const former = evpAead(suite, keyNumber(n));
      const [octets, at] = [sealed(former, 1), former.key];
      former.close();
      const next = evpAead(suite, keyNumber(n + 1));
      expect(next.key).toBe(at);
      expect(opens(next, octets, 1)).toBe(false);
      expect(opens(readableAead(suite, keyNumber(n + 1)), sealed(next, 1), 1)).toBe(true);
      expect(() => former.seal(message(former), 0, AAD, PLAIN, 2)).toThrow('closed key');
      next.close();
    }
  });

  it('closes keys whose context is another key’s by now', () => {
    const first = evpAead(suite, keyNumber(0));
    const octets = sealed(first, 1);
    const others = Array.from({ length: KEYS }, (_, n) => evpAead(suite, keyNumber(n + 1)));
    const theirs = others.map((aead) => sealed(aead, 1));
    first.close();
    expect(() => first.open(octets, 0, AAD, octets.length, 1)).toThrow('closed key');
    for (const [n, aead] of others.entries()) {
      expect(opens(aead, theirs[n]!, 1)).toBe(true);
      aead.close();
    }
  });

  it('borrows keys one after the other, and has none once they are given back', () => {
    const [one, two] = [evpAead(suite, keyNumber(1)), evpAead(suite, keyNumber(2))];
    const borrower = borrowingAead(suite);
    for (const [owner, other] of [
      [one, two],
      [two, one],
    ] as const) {
      borrower.borrow(owner.key);
      const octets = sealed(borrower, 5);
      expect(opens(owner, octets, 5)).toBe(true);
      expect(opens(other, octets, 5)).toBe(false);
      expect(opens(borrower, octets, 5)).toBe(true);
    }
    borrower.giveBack();
    expect(() => sealed(borrower, 6)).toThrow('closed key');
    borrower.borrow(one.key);
    expect(opens(one, sealed(borrower, 7), 7)).toBe(true);
    borrower.giveBack();
    one.close();
    two.close();
  });

  it('leaves nothing where a closed key was', () => {
    const aead = evpAead(suite, keyNumber(0x55aa33cc));
    const room = memoryAt(aead.key, KEY_ROOM).bytes;
    expect(room.some((octet) => octet !== 0)).toBe(true);
    sealed(aead, 1);
    aead.close();
    expect(room.every((octet) => octet === 0)).toBe(true);
    aead.close();
  });
});

const WINDOW = 1 << 20;
const window = allocate(WINDOW);

/** How often these octets stand anywhere in the memory of this process, but for what it is looked through with. */
function copiesOf(octets: Uint8Array): number {
  const file = openSync('/proc/self/mem', 'r');
  let copies = 0;
  for (const [, first, last] of readFileSync('/proc/self/maps', 'utf8').matchAll(/^(\w+)-(\w+) rw/gm)) {
    const [start, end] = [Number.parseInt(first!, 16), Number.parseInt(last!, 16)];
    copies += copiesIn(file, start, Math.min(end, window.address), octets);
    copies += copiesIn(file, Math.max(start, window.address + WINDOW), end, octets);
  }
  closeSync(file);
  return copies;
}

function copiesIn(file: number, start: number, end: number, octets: Uint8Array): number {
  const seen = Buffer.from(window.bytes.buffer, 0, WINDOW);
  let copies = 0;
  for (let at = start; at < end; at += WINDOW - octets.length + 1) {
    let read = 0;
    try {
      read = readSync(file, seen, 0, Math.min(WINDOW, end - at), at);
    } catch {
      // It is not mapped any more.
    }
    const part = seen.subarray(0, read);
    for (let found = part.indexOf(octets); found >= 0; found = part.indexOf(octets, found + 1)) copies++;
  }
  return copies;
}

describe.each([Suite.aes256Gcm, Suite.chacha20Poly1305])('suite %i, whose contexts hold the key as it is', (suite) => {
  it('has nothing of a closed key left in memory', () => {
    // Outside the heap, where the collector makes no copies.
    const key = randomFillSync(Buffer.allocUnsafeSlow(4096)).subarray(0, 32);
    const before = copiesOf(key);
    const aead = evpAead(suite, key);
    const octets = sealed(aead, 1);
    expect(opens(aead, octets, 1)).toBe(true);
    expect(copiesOf(key) - before).toBeGreaterThanOrEqual(3);
    aead.close();
    expect(copiesOf(key)).toBe(before);
  });

  it('has nothing of a borrowed key left with the borrower', () => {
    const key = randomFillSync(Buffer.allocUnsafeSlow(4096)).subarray(0, 32);
    const owner = evpAead(suite, key);
    const before = copiesOf(key);
    const borrower = borrowingAead(suite);
    borrower.borrow(owner.key);
    expect(opens(borrower, sealed(borrower, 1), 1)).toBe(true);
    expect(copiesOf(key)).toBeGreaterThan(before);
    borrower.giveBack();
    expect(copiesOf(key)).toBe(before);
    owner.close();
  });
});

describe('contexts', () => {
  const memory = new KeyMemory();
  const keys = Array.from({ length: 6 }, (_, n) => memory.keep(keyNumber(n)));

  it('are taken from the key that was not used the longest', () => {
    const contexts = new Contexts(2, 'encryptInit', 3);
    const [a, b, c] = keys.slice(0, 3).map((key) => contexts.lend(key));
    expect(new Set([a, b, c]).size).toBe(3);
    for (const context of [a, c]) context!.used = true;
    expect(contexts.lend(keys[3]!)).toBe(b);
    // Once only: the next one to come takes the same.
    b!.used = false;
    for (const context of [a, c]) context!.used = true;
    expect(contexts.lend(keys[4]!)).toBe(b);
    expect([a, b, c].map((context) => context!.key)).toEqual([keys[0], keys[4], keys[2]]);
    // All of them used: one has to go.
    for (const context of [a, b, c]) context!.used = true;
    expect([a, b, c]).toContain(contexts.lend(keys[5]!));
    contexts.blank();
    for (const context of [a, b, c]) expect(keys).not.toContain(context!.key);
  });

  it('are freed with their key, and made again', () => {
    const contexts = new Contexts(2, 'encryptInit', 2);
    const [a, b] = keys.slice(0, 2).map((key) => contexts.lend(key));
    contexts.discard(keys[0]!);
    contexts.discard(keys[0]!);
    expect(a).toMatchObject({ cipher: null, mac: null });
    expect(keys).not.toContain(a!.key);
    expect(b!.key).toBe(keys[1]);
    const c = contexts.lend(keys[2]!);
    expect(c).not.toBe(a);
    expect(c).not.toBe(b);
    for (const key of keys) contexts.discard(key);
    expect([b, c].map((context) => context!.cipher)).toEqual([null, null]);
  });
});

describe('key memory', () => {
  it('keeps each key apart, over more than one piece of memory, and gives room out again', () => {
    const memory = new KeyMemory();
    const addresses = Array.from({ length: 3_000 }, (_, n) => memory.keep(keyNumber(n)));
    expect(new Set(addresses).size).toBe(addresses.length);
    const held = (address: number): Uint8Array => memoryAt(address, KEY_ROOM).bytes.slice();
    for (const [n, address] of addresses.entries()) {
      expect(held(address).subarray(0, 32)).toEqual(keyNumber(n));
      if (n % 2 === 0) memory.forget(address);
    }
    expect(held(addresses[2_000]!)).toEqual(new Uint8Array(KEY_ROOM));
    expect(held(addresses[2_001]!).subarray(0, 32)).toEqual(keyNumber(2_001));
    expect(addresses).toContain(memory.keep(keyNumber(1)));
  });
});
