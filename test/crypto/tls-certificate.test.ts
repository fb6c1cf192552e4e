import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { issueTlsServer, makeTlsRoot, tlsRootHash } from '../../src/crypto/tls-certificate.ts';

const wall = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;

test('a root signs a server certificate for its names and addresses', async () => {
  const root = await makeTlsRoot('lab.example', wall);
  const server = await issueTlsServer(
    root,
    ['as.lab.example', 'controller.lab.example'],
    ['192.0.2.1', '2001:db8::1'],
    wall,
  );
  const [ca, leaf] = [new X509Certificate(root.certificate), new X509Certificate(server.certificate)];
  expect([ca.ca, leaf.ca]).toEqual([true, false]);
  expect(ca.checkIssued(ca) && leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).toBe(true);
  expect(leaf.checkPrivateKey(createPrivateKey(server.privateKey))).toBe(true);
  expect(ca.checkPrivateKey(createPrivateKey(root.privateKey))).toBe(true);
  expect(leaf.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
  expect([leaf.checkHost('as.lab.example'), leaf.checkHost('other.lab.example')]).toEqual([
    'as.lab.example',
    undefined,
  ]);
  expect([leaf.checkIP('192.0.2.1'), leaf.checkIP('2001:db8::1'), leaf.checkIP('192.0.2.2')]).toEqual([
    '192.0.2.1',
    '2001:db8::1',
    undefined,
  ]);
  expect(leaf.validFromDate.getTime()).toBe(wall - DAY);
  expect(leaf.validToDate.getTime()).toBeGreaterThan(wall + 300 * DAY);
  expect(ca.validToDate.getTime()).toBeGreaterThan(leaf.validToDate.getTime() + 365 * DAY);
  expect(tlsRootHash(root.certificate)).toEqual(new Uint8Array(createHash('sha256').update(ca.raw).digest()));
});

test('a server certificate of one network is none of another of the same name', async () => {
  const [mine, theirs] = await Promise.all([makeTlsRoot('lab.example', wall), makeTlsRoot('lab.example', wall)]);
  const server = new X509Certificate((await issueTlsServer(theirs, ['as.lab.example'], [], wall)).certificate);
  expect(server.verify(new X509Certificate(mine.certificate).publicKey)).toBe(false);
  await expect(issueTlsServer({ ...mine, privateKey: 'damaged' }, ['as.lab.example'], [], wall)).rejects.toThrow();
});
