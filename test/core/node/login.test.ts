import { describe, expect, it } from 'vitest';
import {
  buildLoginAck,
  buildLoginRequest,
  type LoginRequest,
  readLoginResponse,
} from '../../../src/core/node/login.ts';
import { type CertificateContent, issueCertificate } from '../../../src/crypto/certificate.ts';
import { generateIdentity, publicIdentity, verifyLogin } from '../../../src/crypto/identity.ts';
import { decodePlain, encodePlain, type MessageOf } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { AuthType, type Body, Flag } from '../../../src/proto/messages.ts';
import { type Options, Refusal } from '../../../src/proto/options.ts';
import { World } from '../../support/primitives.ts';

const primitives = new World('login').primitives('device');
const ca = primitives.ed25519Generate();
const identity = generateIdentity(primitives);
const now = { ms: 0, wall: Date.UTC(2026, 0, 15) };
const nodeId = 'ab'.repeat(16);

const first: LoginRequest = {
  deviceId: 'a',
  password: new Uint8Array(16).fill(5),
  certificate: null,
  identity,
  exporter: new Uint8Array(32).fill(7),
};

const content: CertificateContent = {
  nodeId,
  fqdn: 'a.lab.example',
  vip4: '100.80.0.2',
  vip6: 'fd00:80::2',
  ...publicIdentity(identity),
  groups: ['office'],
  notBefore: now.wall / 1000 - 60,
  notAfter: now.wall / 1000 + 86_400,
};

function response(
  change: { body?: Partial<Body<'loginResponse'>>; options?: Partial<Options>; flags?: number } = {},
): Uint8Array {
  return encodePlain({
    type: 'loginResponse',
    id: nodeId,
    transactionId: 1,
    flags: Flag.response | (change.flags ?? 0),
    body: {
      cipherType: Suite.aes256Gcm,
      expires: '2026-01-22',
      virtual4: '100.80.0.2',
      virtual6: 'fd00:80::2',
      nms4: '192.0.2.10',
      nms6: null,
      commonKey: new Uint8Array(32).fill(3),
      fqdn: 'a.lab.example',
      ...change.body,
    },
    options: {
      certificate: { certificate: issueCertificate(primitives, ca.privateKey, content).octets },
      network: { prefix4: '100.80.0.0', length4: 16, prefix6: 'fd00:80::', length6: 64, domain: 'lab.example' },
      nmsPort: { port: 7555 },
      ...change.options,
    },
  });
}

const read = (octets: Uint8Array) => readLoginResponse(primitives, first, ca.publicKey, octets, now);

describe('a login request', () => {
  it('carries the secret and proves possession of the keys on this connection', () => {
    const message = decodePlain(buildLoginRequest(primitives, first)) as MessageOf<'loginRequest'>;
    expect(message.body).toMatchObject({ authType: AuthType.password, deviceId: 'a', password: first.password });
    const { signature, ...keys } = message.options.identity!;
    expect(keys).toEqual(publicIdentity(identity));
    expect(verifyLogin(primitives, keys, first.exporter, signature)).toBe(true);
    expect(verifyLogin(primitives, keys, new Uint8Array(32), signature)).toBe(false);
  });

  it('shows the certificate once there is one', () => {
    const { octets } = issueCertificate(primitives, ca.privateKey, content);
    const later = { ...first, password: null, certificate: octets };
    const message = decodePlain(buildLoginRequest(primitives, later)) as MessageOf<'loginRequest'>;
    expect(message.body).toMatchObject({ authType: AuthType.certificate, certificate: octets });
    expect(message.body.password).toHaveLength(0);
  });
});

describe('a login response', () => {
  it('brings a session', () => {
    const outcome = read(response());
    expect(outcome).toMatchObject({
      status: 'accepted',
      session: {
        nodeId,
        fqdn: 'a.lab.example',
        vip4: '100.80.0.2',
        nms4: { address: '192.0.2.10', port: 7555 },
        nms6: null,
        certificateExpires: content.notAfter * 1000,
        overlay: [
          { address: '100.80.0.0', length: 16 },
          { address: 'fd00:80::', length: 64 },
        ],
        domain: 'lab.example',
      },
    });
    if (outcome.status !== 'accepted') return;
    expect(decodePlain(buildLoginAck(outcome.session))).toMatchObject({ type: 'ack', id: nodeId, transactionId: 1 });
  });

  it('may be a refusal with a reason', () => {
    const refused = response({ flags: Flag.failure, options: { refusal: { reason: Refusal.secretSpent } } });
    expect(read(refused)).toEqual({ status: 'refused', reason: Refusal.secretSpent });
    expect(read(response({ flags: Flag.failure }))).toEqual({ status: 'refused', reason: null });
  });

  const signed = (change: Partial<CertificateContent>, key = ca.privateKey) => ({
    options: { certificate: { certificate: issueCertificate(primitives, key, { ...content, ...change }).octets } },
  });
  const wrong: [string, () => Uint8Array][] = [
    ['nothing at all', () => new Uint8Array(0)],
    ['a message that answers no request', () => encodePlain({ type: 'ack', id: nodeId, transactionId: 1, body: {} })],
    [
      'another message',
      () => encodePlain({ type: 'ack', id: nodeId, transactionId: 1, flags: Flag.response, body: {} }),
    ],
    ['a certificate of another CA', () => response(signed({}, primitives.ed25519Generate().privateKey))],
    ['an expired certificate', () => response(signed({ notBefore: 1, notAfter: 2 }))],
    ['a certificate for other keys', () => response(signed(publicIdentity(generateIdentity(primitives))))],
    ['a certificate for another name', () => response(signed({ fqdn: 'b.lab.example' }))],
    ['a certificate for another NodeID', () => response(signed({ nodeId: 'cd'.repeat(16) }))],
    ['a certificate for another address', () => response(signed({ vip4: '100.80.0.3' }))],
    ['a short Common Key', () => response({ body: { commonKey: new Uint8Array(16) } })],
    ['an unknown suite', () => response({ body: { cipherType: 77 } })],
    ['no NMS', () => response({ body: { nms4: null } })],
  ];
  it.each(wrong)('that has %s is not accepted', (_what, octets) => {
    expect(read(octets())).toMatchObject({ status: 'invalid' });
  });
});
