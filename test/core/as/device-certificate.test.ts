/** General nodes that come in by an X.509 certificate of their own, shown in a TLS handshake with their adapter. */

import { beforeAll, beforeEach, expect, it, test } from 'vitest';
import type { Identity } from '../../../src/crypto/identity.ts';
import { issueTlsServer, makeTlsRoot, type TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { AuthType } from '../../../src/proto/messages.ts';
import { proveCertificate } from '../../roles/adapter/support/conversation.ts';
import { type CertificateWish, type Issued, makeCertificate } from '../../support/certificates.ts';
import { AsBench, type Connection, enrolled, expectRefused, newIdentity } from './bench.ts';

const MINUTE = 60_000;
const DAY = 1_440 * MINUTE;
const keys = newIdentity();
let root: TlsIdentity;
let server: TlsIdentity;
let maker: Issued;
let bench: AsBench;
let adapter: Connection;
let adapterKeys: Identity;

beforeAll(async () => {
  root = await makeTlsRoot('lab.example', Date.now());
  maker = await makeCertificate({ name: 'Maker', ca: 0 });
});

beforeEach(async () => {
  bench = new AsBench(root.certificate);
  bench.now = { ms: 1_000, wall: Date.now() };
  server = await certified();
  await bench.addService();
  adapterKeys = newIdentity();
  adapter = await enrolled(bench, 'gw', adapterKeys);
  const trustedCa = maker.certificate;
  await bench.addDevice('robot', {
    adapter: 'gw',
    auth: 'certificate',
    mac: '02:00:00:00:00:ad',
    secretHash: null,
    trustedCa,
  });
});

/** What the adapter is given to show its devices at the time of the bench. */
const certified = () => issueTlsServer(root, ['gw.lab.example'], [], bench.now.wall);
const wait = (ms: number) => {
  bench.now = { ms: bench.now.ms + ms, wall: bench.now.wall + ms };
};
const robot = (wish: Partial<CertificateWish> = {}) => makeCertificate({ name: 'robot', issuer: maker, ...wish });
const prove = (identity: TlsIdentity, as = server) =>
  proveCertificate({ root, server: as }, { version: 'TLSv1.3', identity, options: { rejectUnauthorized: false } });
const login = (certificate: Uint8Array, by = adapter, deviceId = 'robot') =>
  by.login(deviceId, keys, { authType: AuthType.certificate, certificate });

test('a device comes in by its certificate, time and again', async () => {
  expect(login(await prove(await robot()))).toBe('accepted');
  adapter.acknowledge();
  expect(bench.device('robot')).toMatchObject({ state: 'enrolled', signKey: keys.sign.publicKey });
  const renewed = await robot({ name: 'serial 4711', dnsNames: ['robot.lab.example'], kind: 'rsa' });
  wait(1_000);
  expect(login(await prove(renewed, await certified()))).toBe('accepted');
  wait(1_000);
  const certificate = await prove(renewed, await certified());
  await expectRefused(bench, 'keyMismatch', () =>
    adapter.login('robot', newIdentity(), { authType: AuthType.certificate, certificate }),
  );
});

test('and by nothing else', async () => {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 0xad);
  await expectRefused(bench, 'badCredentials', () =>
    adapter.login('robot', keys, { authType: AuthType.mac, password: mac }),
  );
  await expectRefused(bench, 'badCredentials', () => adapter.login('robot', keys));
  expect(login(await prove(await robot()))).toBe('accepted');
  adapter.acknowledge();
  // Its pinned keys are those of the adapter.
  await expectRefused(bench, 'badCredentials', () => login(new Uint8Array(0)));
});

it.each([
  [
    'certificateUntrusted',
    'of a foreign CA',
    async () => ({ issuer: await makeCertificate({ name: 'Maker', ca: 0 }) }),
  ],
  ['certificateExpired', 'that has expired', () => ({ days: [-20, -10] as const })],
  ['certificateExpired', 'that is not valid yet', () => ({ days: [10, 20] as const })],
  ['certificateUnfit', 'that is too weak', () => ({ kind: 'rsa', hash: 'SHA-1' }) as const],
  ['certificateName', 'of another device', () => ({ name: 'robot2' })],
])(
  'refuses with %s a certificate %s',
  async (reason, _, wish: () => Partial<CertificateWish> | Promise<Partial<CertificateWish>>) => {
    const proof = await prove(await robot(await wish()));
    await expectRefused(bench, reason, () => login(proof));
    expect(adapter.closed).toBe(false);
  },
);

test('the time is that of the login', async () => {
  const camera = await robot();
  wait(60 * DAY);
  const proof = await prove(camera, await certified());
  await expectRefused(bench, 'certificateExpired', () => login(proof));
});

test('a handshake counts for one login, and those before it for none', async () => {
  const camera = await robot();
  const [unused, first] = [await prove(camera), await prove(camera)];
  wait(MINUTE);
  const second = await prove(camera, await certified());
  expect(login(first)).toBe('accepted');
  await expectRefused(bench, 'handshakeStale', () => login(first));
  await expectRefused(bench, 'handshakeStale', () => login(unused));
  // Shown a certificate in the second of that login, as if the cloud had known of it.
  await expectRefused(bench, 'handshakeStale', () => login(second));
  wait(1_000);
  const third = await prove(camera, await certified());
  expect(login(third)).toBe('accepted');
  for (const old of [first, second, third]) await expectRefused(bench, 'handshakeStale', () => login(old));
});

it.each([
  ['longer ago than', 5 * MINUTE, 'handshakeStale'],
  ['within', 4 * MINUTE, 'accepted'],
  ['a moment after', -MINUTE / 2, 'accepted'],
  ['long after', -2 * MINUTE, 'handshakeStale'],
])('a handshake begun %s the minutes that it counts for: %i ms', async (_, age, outcome) => {
  const camera = await robot();
  const proof = await prove(camera);
  wait(age);
  expect(login(proof)).toBe(outcome);
  expect(adapter.closed).toBe(false);
});

test('refuses a handshake that was not with the adapter', async () => {
  const camera = await robot();
  const other = await issueTlsServer(root, ['gw2.lab.example'], [], Date.now());
  const elsewhere = await prove(camera, other);
  await expectRefused(bench, 'badCredentials', () => login(elsewhere));
  const foreign = await issueTlsServer(
    await makeTlsRoot('lab.example', Date.now()),
    ['gw.lab.example'],
    [],
    Date.now(),
  );
  const stranger = await proveCertificate(
    { root, server: foreign },
    { version: 'TLSv1.2', identity: camera, options: { rejectUnauthorized: false } },
  );
  await expectRefused(bench, 'badCredentials', () => login(stranger));
});

test('refuses what another adapter, or nobody, brings', async () => {
  const proof = await prove(await robot());
  const other = await enrolled(bench, 'gw2', newIdentity());
  await expectRefused(bench, 'badCredentials', () => login(proof, other));
  await expectRefused(bench, 'badCredentials', () => login(proof, bench.connect()));
});

test('a proof of one device lets no other in', async () => {
  const proof = await prove(await robot());
  const more = { adapter: 'gw', secretHash: null, trustedCa: maker.certificate };
  await bench.addDevice('robot2', { ...more, auth: 'certificate', mac: '02:00:00:00:00:ae' });
  await bench.addDevice('cam', { ...more, auth: 'mac', mac: '02:00:00:00:00:af', trustedCa: null });
  await expectRefused(bench, 'certificateName', () => login(proof, adapter, 'robot2'));
  await expectRefused(bench, 'badCredentials', () => login(proof, adapter, 'cam'));
});
