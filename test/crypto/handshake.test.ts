import { describe, expect, test } from 'vitest';
import { certificateHash } from '../../src/crypto/certificate.ts';
import {
  answerHandshake,
  type HandshakeContext,
  handshakePrologue,
  type OwnCertificates,
  type StartedHandshake,
  startHandshake,
} from '../../src/crypto/handshake.ts';
import { initiateNoise, receiveNoise } from '../../src/crypto/noise.ts';
import { Suite, suiteNames } from '../../src/proto/constants.ts';
import { DAY, type Member, memberOf, NOW, primitives, WALL } from './fixtures.ts';

const ca = primitives.ed25519Generate();
const alice = memberOf(ca, 'alice');
const bob = memberOf(ca, 'bob');
const carol = memberOf(ca, 'carol');

const own = (member: Member, certificate = member.certificate.octets): OwnCertificates => ({
  handshake: member.identity.handshake,
  certificate,
  previous: [],
});

const context = (changes: Partial<HandshakeContext> = {}): HandshakeContext => ({
  suite: Suite.aes256Gcm,
  pathId: 'ab'.repeat(16),
  epoch: 3,
  initiator: alice.nodeId,
  responder: bob.nodeId,
  temporaryKey: new Uint8Array(32).fill(5),
  caKey: ca.publicKey,
  ...changes,
});

function started(changes: Partial<HandshakeContext> = {}, from = own(alice)): StartedHandshake {
  const result = startHandshake(primitives, context(changes), from, bob.certificate);
  if (typeof result === 'string') expect.fail(result);
  return result;
}

const answer = (message: Uint8Array, changes: Partial<HandshakeContext> = {}, by = own(bob), wall = WALL) =>
  answerHandshake(primitives, context(changes), by, message, wall);

/** An honest answer. */
function answered(message: Uint8Array, changes: Partial<HandshakeContext> = {}, by = own(bob)) {
  const result = answer(message, changes, by);
  if (typeof result === 'string') expect.fail(result);
  return result;
}

const noiseSuites = [Suite.aes256Gcm, Suite.chacha20Poly1305];

describe.each(noiseSuites.map((suite) => [suiteNames[suite], suite] as const))('%s', (_, suite) => {
  test('both ends hold the same keys, and know whom they talk to', () => {
    const start = started({ suite });
    const response = answered(start.message, { suite });
    const result = start.finish(response.message, WALL);
    expect(result).toEqual({
      keys: { send: response.keys.receive, receive: response.keys.send },
      peer: bob.certificate,
    });
    expect(response.peer).toEqual(alice.certificate);
    expect(response.keys.send).not.toEqual(response.keys.receive);
    expect(response.keys.send).toHaveLength(32);
  });

  test('messages fit one datagram even with the largest certificates', () => {
    const fqdn = `${'x'.repeat(63)}.${'x'.repeat(63)}.${'x'.repeat(63)}.${'x'.repeat(61)}`;
    const groups = [...'abcdefgh'].map((group) => group.repeat(9));
    const large = memberOf(ca, 'large', { fqdn, groups });
    const start = started({ suite, initiator: large.nodeId }, own(large));
    expect(start.message.length).toBeLessThanOrEqual(512 + 96);
    expect(answered(start.message, { suite, initiator: large.nodeId }).peer).toEqual(large.certificate);
  });

  test.each<[string, Partial<HandshakeContext>]>([
    ['PathID', { pathId: 'ac'.repeat(16) }],
    ['epoch', { epoch: 4 }],
    ['suite', { suite: suite === Suite.aes256Gcm ? Suite.chacha20Poly1305 : Suite.aes256Gcm }],
    ['initiator', { initiator: carol.nodeId }],
    ['responder', { responder: carol.nodeId }],
  ])('fails if the ends differ in the %s', (_, changes) => {
    expect(answer(started({ suite }).message, { suite, ...changes })).toBe('handshake-failed');
  });

  test('fails if the ends differ in the Temp Key', () => {
    const start = started({ suite });
    const wrong = { suite, temporaryKey: new Uint8Array(32).fill(6) };
    expect(start.finish(answered(start.message, wrong).message, WALL)).toBe('handshake-failed');
    // That forged answer has not ended it.
    expect(start.finish(answered(start.message, { suite }).message, WALL)).toHaveProperty('keys');
  });

  test('a Temp Key of another length is refused', () => {
    const short = { suite, temporaryKey: new Uint8Array(16) };
    expect(startHandshake(primitives, context(short), own(alice), bob.certificate)).toBe('handshake-failed');
    expect(answer(started({ suite }).message, short)).toBe('handshake-failed');
  });

  test('any flipped bit and any truncation of either message is refused', () => {
    const start = started({ suite });
    const { message } = answered(start.message, { suite });
    for (const [octets, read] of [
      [start.message, (altered: Uint8Array) => answer(altered, { suite })],
      [message, (altered: Uint8Array) => start.finish(altered, WALL)],
    ] as const) {
      for (let i = 0; i < octets.length; i += 3) {
        const altered = octets.slice();
        altered[i]! ^= 1 << (i & 7);
        expect(read(altered)).toBe('handshake-failed');
        expect(read(octets.subarray(0, i))).toBe('handshake-failed');
      }
    }
  });
});

describe('who may answer', () => {
  test("not the holder of another device's key", () => {
    const { message } = started();
    expect(answer(message, {}, own(carol, bob.certificate.octets))).toBe('handshake-failed');
    expect(answer(message, { responder: carol.nodeId }, own(carol))).toBe('handshake-failed');
  });

  test('an initiator that was told one device but given the certificate of another does not start', () => {
    const result = startHandshake(primitives, context(), own(alice), carol.certificate);
    expect(result).toBe('certificate-name');
  });

  test('a certificate with another key than the handshake proved', () => {
    const other = memberOf(ca, 'bob', { nodeId: bob.nodeId });
    const start = started();
    const swapped = {
      ...own(bob, other.certificate.octets),
      previous: [certificateHash(primitives, bob.certificate.octets)],
    };
    expect(start.finish(answered(start.message, {}, swapped).message, WALL)).toBe('certificate-invalid');
  });

  test('nor with the certificate of another device in the answer', () => {
    const start = started();
    const swapped = {
      ...own(bob, carol.certificate.octets),
      previous: [certificateHash(primitives, bob.certificate.octets)],
    };
    expect(start.finish(answered(start.message, {}, swapped).message, WALL)).toBe('certificate-name');
  });

  test('nor with an expired one', () => {
    const start = started();
    const response = answered(start.message);
    expect(start.finish(response.message, WALL + 8 * DAY * 1000)).toBe('certificate-expired');
  });

  test('a renewed certificate is told to the initiator that knew the old one', () => {
    const renewed = memberOf(ca, 'bob', {
      nodeId: bob.nodeId,
      signKey: bob.identity.sign.publicKey,
      handshakeKey: bob.identity.handshake.publicKey,
      notAfter: NOW + 7 * DAY,
    }).certificate;
    const start = started();
    expect(answer(start.message, {}, own(bob, renewed.octets))).toBe('handshake-failed');
    const both = { ...own(bob, renewed.octets), previous: [certificateHash(primitives, bob.certificate.octets)] };
    const result = start.finish(answered(start.message, {}, both).message, WALL);
    expect(result).toMatchObject({ peer: { notAfter: NOW + 7 * DAY } });
  });
});

describe('who may ask', () => {
  test.each<[string, Partial<HandshakeContext>, () => OwnCertificates, string]>([
    ['a device with the certificate of another', {}, () => own(carol, alice.certificate.octets), 'certificate-invalid'],
    ['a device under its own name where another was announced', {}, () => own(carol), 'certificate-name'],
    [
      'a device of another network',
      {},
      () => own(memberOf(primitives.ed25519Generate(), 'x', { nodeId: alice.nodeId })),
      'certificate-invalid',
    ],
    [
      'a device whose certificate has expired',
      {},
      () => own(memberOf(ca, 'x', { nodeId: alice.nodeId, notAfter: NOW - 3600 })),
      'certificate-expired',
    ],
    [
      'a device whose certificate is of the future',
      {},
      () => own(memberOf(ca, 'x', { nodeId: alice.nodeId, notBefore: NOW + 3600 })),
      'certificate-expired',
    ],
    ['a device without certificate', {}, () => own(alice, new Uint8Array(0)), 'certificate-invalid'],
  ])('not %s', (_, changes, from, reason) => {
    expect(answer(started(changes, from()).message)).toBe(reason);
  });

  test('random octets are refused', () => {
    for (let length = 0; length < 700; length += 7) {
      expect(answer(primitives.random(length))).toBe('handshake-failed');
      expect(started().finish(primitives.random(length), WALL)).toBe('handshake-failed');
    }
  });
});

test("a repeated request can't be told from the first: the caller keeps the answer", () => {
  const start = started();
  const [first, second] = [answered(start.message), answered(start.message)];
  expect(first.keys.send).not.toEqual(second.keys.send);
});

test('the prologue holds everything that both ends must agree on', () => {
  const prologue = handshakePrologue(context(), new Uint8Array(32).fill(9)).toHex();
  const label = Buffer.from('cyphonic handshake v1\0').toString('hex');
  const expected = [label, '01', '0002', 'ab'.repeat(16), '03', alice.nodeId, bob.nodeId, '09'.repeat(32)];
  expect(prologue).toBe(expected.join(''));
});

describe('cbc-md5', () => {
  const suite = Suite.cbcMd5;

  test('each end makes the key it sends under, and nobody proves anything', () => {
    const start = started({ suite });
    const response = answered(start.message, { suite });
    expect(start.finish(response.message, WALL)).toEqual({
      keys: { send: response.keys.receive, receive: response.keys.send },
      peer: null,
    });
    expect(response.keys.send).not.toEqual(response.keys.receive);
  });

  test('another Temp Key, any flipped bit and a Noise message are refused', () => {
    const start = started({ suite });
    expect(answer(start.message, { suite, temporaryKey: new Uint8Array(32) })).toBe('handshake-failed');
    expect(answer(started().message, { suite })).toBe('handshake-failed');
    expect(answer(start.message)).toBe('handshake-failed');
    for (let i = 0; i < start.message.length; i++) {
      const altered = start.message.slice();
      altered[i]! ^= 1;
      expect(answer(altered, { suite })).toBe('handshake-failed');
      expect(start.finish(altered, WALL)).toBe('handshake-failed');
    }
  });

  test('whoever knows the Temp Key reads the End Key, which is why it is no default', () => {
    const start = started({ suite });
    const copy = start.message.slice();
    const aead = primitives.aead(suite, context().temporaryKey);
    const length = aead.open(copy, 0, 0, copy.length, 0);
    const stolen = copy.slice(aead.lead, aead.lead + length);
    expect(stolen).toEqual(answered(start.message, { suite }).keys.receive);
  });

  test('a Noise handshake gives nothing to who knows the Temp Key and all certificates', () => {
    const { message } = started();
    const thief = primitives.x25519Generate();
    const parameters = {
      suite: Suite.aes256Gcm,
      prologue: handshakePrologue(context(), primitives.sha256(bob.certificate.octets)),
      psk: context().temporaryKey,
    } as const;
    expect(receiveNoise(primitives, { ...parameters, own: thief }, message)).toBeNull();
    // Acting as alice with a key of one's own ends at the certificate, and with hers it can't be done at all.
    const forged = initiateNoise(
      primitives,
      { ...parameters, own: thief },
      bob.certificate.handshakeKey,
      alice.certificate.octets,
    )!;
    expect(answer(forged.message)).toBe('certificate-invalid');
  });
});
