import { createCipheriv } from 'node:crypto';
import { expect, test } from 'vitest';
import { nodePrimitives } from '../../src/crypto/node.ts';
import { initiateNoise, type NoiseParameters, receiveNoise } from '../../src/crypto/noise.ts';
import type { KeyPair } from '../../src/crypto/primitives.ts';
import { readableAead } from '../../src/crypto/readable.ts';
import { Suite } from '../../src/proto/constants.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { hex, readVectors } from '../vectors/read.ts';

type Vector = {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly init_psks: readonly [string];
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
};

const basePoint = Uint8Array.of(9, ...new Uint8Array(31));

for (const [twin, aead] of Object.entries({ evp: evpAead, readable: readableAead })) {
  const primitives = nodePrimitives(aead);
  const pair = (privateKey: string): KeyPair => ({
    privateKey: hex(privateKey),
    publicKey: primitives.x25519(hex(privateKey), basePoint)!,
  });

  for (const vector of readVectors<Vector>('noise-ikpsk2')) {
    const isGcm = vector.protocol_name.includes('AESGCM');
    const shared = {
      suite: isGcm ? Suite.aes256Gcm : Suite.chacha20Poly1305,
      prologue: hex(vector.init_prologue),
      psk: hex(vector.init_psks[0]),
    } as const;
    const initiator: NoiseParameters = { ...shared, own: pair(vector.init_static) };
    const responder: NoiseParameters = { ...shared, own: pair(vector.resp_static) };
    const [first, second, ...transport] = vector.messages as readonly [
      Vector['messages'][number],
      Vector['messages'][number],
      ...Vector['messages'],
    ];

    function start() {
      const ephemeral = pair(vector.init_ephemeral);
      return initiateNoise(primitives, initiator, responder.own.publicKey, hex(first.payload), ephemeral)!;
    }

    test(`${vector.protocol_name} reproduces the published vector (${twin})`, () => {
      const initiation = start();
      expect(initiation.message.toHex()).toBe(first.ciphertext);

      const request = receiveNoise(primitives, responder, initiation.message)!;
      expect(request.payload.toHex()).toBe(first.payload);
      expect(request.remote).toEqual(initiator.own.publicKey);

      const answer = request.answer(hex(second.payload), pair(vector.resp_ephemeral))!;
      expect(answer.message.toHex()).toBe(second.ciphertext);
      expect(answer.handshakeHash.toHex()).toBe(vector.handshake_hash);

      const result = initiation.finish(answer.message)!;
      expect(result.payload.toHex()).toBe(second.payload);
      expect(result.handshakeHash.toHex()).toBe(vector.handshake_hash);
      expect(result.receive).toEqual(answer.send);
      expect(result.send).toEqual(answer.receive);

      // Transport messages alternate, the initiator first; each direction counts its own nonces.
      transport.forEach(({ payload, ciphertext }, i) => {
        const nonce = Buffer.alloc(12);
        if (isGcm) nonce.writeBigUInt64BE(BigInt(i >> 1), 4);
        else nonce.writeBigUInt64LE(BigInt(i >> 1), 4);
        const cipher = createCipheriv(
          (isGcm ? 'aes-256-gcm' : 'chacha20-poly1305') as 'chacha20-poly1305',
          i % 2 === 0 ? result.send : answer.send,
          nonce,
          { authTagLength: 16 },
        );
        const sealed = Buffer.concat([cipher.update(hex(payload)), cipher.final(), cipher.getAuthTag()]);
        expect(sealed.toString('hex')).toBe(ciphertext);
      });
    });

    if (twin === 'readable') continue;

    test(`${vector.protocol_name} refuses every altered octet and every truncation`, () => {
      const initiation = start();
      const { message } = initiation;
      for (let i = 0; i < message.length; i++) {
        const altered = message.slice();
        altered[i]! ^= 1 << (i & 7);
        expect(receiveNoise(primitives, responder, altered)).toBeNull();
        expect(receiveNoise(primitives, responder, message.subarray(0, i))).toBeNull();
      }
      const answer = receiveNoise(primitives, responder, message)!.answer(hex(second.payload))!;
      for (let i = 0; i < answer.message.length; i++) {
        const altered = answer.message.slice();
        altered[i]! ^= 1 << (i & 7);
        expect(initiation.finish(altered)).toBeNull();
        expect(initiation.finish(answer.message.subarray(0, i))).toBeNull();
      }
      // Forged answers have not ended it.
      expect(initiation.finish(answer.message)!.send).toEqual(answer.receive);
    });

    test(`${vector.protocol_name} refuses a different prologue, pre-shared key or static key`, () => {
      const { message } = start();
      expect(receiveNoise(primitives, { ...responder, prologue: hex('00') }, message)).toBeNull();
      expect(receiveNoise(primitives, { ...responder, own: primitives.x25519Generate() }, message)).toBeNull();
      const other = { ...responder, psk: new Uint8Array(32) };
      const answer = receiveNoise(primitives, other, message)!.answer(hex(second.payload))!;
      expect(start().finish(answer.message)).toBeNull();
    });

    test(`${vector.protocol_name} refuses degenerate keys`, () => {
      const zero = new Uint8Array(32);
      expect(initiateNoise(primitives, initiator, zero, hex(first.payload))).toBeNull();
      const initiation = start();
      const withZero = initiation.message.slice();
      withZero.set(zero);
      expect(receiveNoise(primitives, responder, withZero)).toBeNull();
      expect(initiation.finish(new Uint8Array(64))).toBeNull();
    });
  }
}

test('a fresh ephemeral key gives fresh End Keys each time', () => {
  const primitives = nodePrimitives(evpAead);
  const own = primitives.x25519Generate();
  const parameters = { suite: Suite.aes256Gcm, prologue: new Uint8Array(0), psk: new Uint8Array(32) };
  const remote = primitives.x25519Generate();
  const keys = new Set<string>();
  for (let i = 0; i < 4; i++) {
    const initiation = initiateNoise(primitives, { ...parameters, own }, remote.publicKey, new Uint8Array(0))!;
    const answer = receiveNoise(primitives, { ...parameters, own: remote }, initiation.message)!.answer(
      new Uint8Array(0),
    )!;
    const result = initiation.finish(answer.message)!;
    keys.add(result.send.toHex()).add(result.receive.toHex());
  }
  expect(keys.size).toBe(8);
});
