/** The authenticator with Node's TLS stack on both sides: what is scripted elsewhere, for once in earnest. */

import { beforeAll, describe, expect, it } from 'vitest';
import { issueTlsServer, makeTlsRoot, type TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { firstMessage } from '../../../src/crypto/tls-messages.ts';
import { readClientProof } from '../../../src/crypto/tls-proof.ts';
import { concat } from '../../../src/lib/bytes.ts';
import { encodeAvps } from '../../../src/net/ttls-avps.ts';
import { cameraMac } from '../../net/support/link.ts';
import { derOf, makeCertificate } from '../../support/certificates.ts';
import { converse, type Device, proveCertificate, versions } from './support/conversation.ts';

let root: TlsIdentity;
let server: TlsIdentity;
let device: TlsIdentity;

beforeAll(async () => {
  const wall = Date.now();
  root = await makeTlsRoot('lab.example', wall);
  server = await issueTlsServer(root, ['adapter.lab.example'], [], wall);
  device = await issueTlsServer(root, ['cam1.lab.example'], [], wall);
});

const run = (device: Device, good = true) => converse({ root, server }, device, good);

const pap = encodeAvps([
  { code: 1, vendor: null, mandatory: true, value: Buffer.from('cam1') },
  { code: 2, vendor: null, mandatory: true, value: Buffer.from('secret\0\0\0\0\0\0\0\0\0\0') },
]);

const failed = (reason: string) => ({ do: 'failed', mac: cameraMac, reason });

describe.each(versions)('over %s', (version) => {
  it('a device authenticates by its certificate', async () => {
    const { last, asked, supplicant } = await run({ version, method: 'tls', identity: device });
    expect(last).toEqual({ do: 'authorised', mac: cameraMac, identity: 'anonymous' });
    expect(asked).toMatchObject({ do: 'authenticate', identity: 'anonymous', credential: { kind: 'certificate' } });
    // RFC 9190: the commitment, with TLS 1.3 only.
    expect(supplicant.heard).toEqual(version === 'TLSv1.3' ? [Uint8Array.of(0)] : []);
  });

  it('a device authenticates by name and password', async () => {
    const { last, asked } = await run({ version, method: 'ttls', inner: pap });
    expect(last).toEqual({ do: 'authorised', mac: cameraMac, identity: 'cam1' });
    expect(asked).toMatchObject({ credential: { kind: 'password', password: Uint8Array.from(Buffer.from('secret')) } });
  });

  it('a device is refused', async () => {
    const { last } = await run({ version, method: 'ttls', inner: pap }, false);
    expect(last).toEqual(failed('refused'));
  });

  it('a device without a certificate fails', async () => {
    const { last, asked } = await run({ version, method: 'tls' });
    expect(last).toEqual(failed('no-certificate'));
    expect(asked).toBeNull();
  });

  it('a device that speaks without end in the tunnel fails', async () => {
    const { last, asked } = await run({ version, method: 'ttls', inner: new Uint8Array(5_000) });
    expect(last).toEqual(failed('tls'));
    expect(asked).toBeNull();
  });

  it('a ticket of one conversation opens no other', async () => {
    const first = await run({ version, method: 'tls', identity: device });
    const [session] = first.sessions;
    expect(session).toBeDefined();
    const second = await run({ version, method: 'tls', identity: device, options: { session: session! } });
    expect(second.last).toMatchObject({ do: 'authorised' });
    expect(second.resumed).toBe(false);
  });
});

describe('what a device shows of its certificate', () => {
  /** The proof, and what the AS reads in it. */
  async function shown(device: Omit<Device, 'method'>) {
    const proof = await proveCertificate({ root, server }, device);
    return { proof, read: readClientProof(proof) };
  }

  it.each(versions.flatMap((version) => (['rsa', 'ec', 'ec-384', 'ed25519'] as const).map((kind) => [version, kind])))(
    'over %s is signed with its key: %s',
    async (version, kind) => {
      const identity = await makeCertificate({ name: 'cam1', kind: kind as 'rsa' });
      const { read } = await shown({ version: version as 'TLSv1.2', identity });
      expect(read).toEqual({ server: derOf(server), client: derOf(identity) });
    },
  );

  it('may follow a second greeting', async () => {
    // The first group is one the server doesn't have, so that it asks for a share of another.
    const options = { ecdhCurve: 'brainpoolP256r1tls13:P-256' };
    const { proof, read } = await shown({ version: 'TLSv1.3', identity: device, options });
    expect(read).toEqual({ server: derOf(server), client: derOf(device, root) });
    const types = [];
    for (let rest = proof; rest.length > 0; rest = rest.subarray(firstMessage(rest)!.length)) types.push(rest[0]);
    expect(types.slice(0, 4)).toEqual([1, 2, 1, 2]);
  });

  it('comes with its chain', async () => {
    const maker = await makeCertificate({ name: 'Maker', ca: 1 });
    const factory = await makeCertificate({ name: 'Factory', ca: 0, issuer: maker });
    const camera = await makeCertificate({ name: 'cam1', issuer: factory });
    const identity = { ...camera, certificate: camera.certificate + factory.certificate };
    for (const version of versions) {
      const { read } = await shown({ version, identity });
      expect(read?.client).toEqual(derOf(camera, factory));
    }
  });

  it.each(versions)('over %s is worth nothing if a bit of it is another', async (version) => {
    const { proof } = await shown({ version, identity: device });
    const read = (change: (octets: Uint8Array) => Uint8Array) => readClientProof(change(proof.slice()));
    for (let at = 0; at < proof.length; at += 5) {
      const changed = read((octets) => octets.fill(octets[at]! ^ 1, at, at + 1));
      if (changed !== null) throw new Error(`octet ${at} counts for nothing`);
    }
    for (let length = 0; length < proof.length; length += 5)
      expect(read((octets) => octets.slice(0, length))).toBeNull();
    expect(read((octets) => concat(octets, octets))).toBeNull();
  });
});

it('a device that speaks nothing newer than TLS 1.1 fails', async () => {
  const options = { ciphers: 'DEFAULT:@SECLEVEL=0' };
  const { last } = await run({ version: 'TLSv1.1', method: 'tls', identity: device, options });
  expect(last).toEqual(failed('tls'));
});
