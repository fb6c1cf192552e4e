import { beforeEach, expect, test } from 'vitest';
import type { Identity } from '../../../src/crypto/identity.ts';
import { AuthType } from '../../../src/proto/messages.ts';
import { AsBench, type Connection, enrolled, expectRefused, newIdentity, secretOf } from './bench.ts';

let bench: AsBench;
let identity: Identity;
const mac = Uint8Array.of(2, 0, 0, 0, 0, 0xab);
const byMac = { authType: AuthType.mac, password: mac };
let adapterKeys: Identity;
let adapter: Connection;
beforeEach(async () => {
  bench = new AsBench();
  identity = newIdentity();
  await bench.addService();
  adapterKeys = newIdentity();
  adapter = await enrolled(bench, 'gw', adapterKeys);
  await bench.addDevice('cam', { adapter: 'gw', auth: 'mac', mac: '02:00:00:00:00:ab', secretHash: null });
  await bench.addDevice('plc', { adapter: 'gw', auth: 'password', mac: '02:00:00:00:00:ac', secretExpires: null });
});

test('general nodes come in through their adapter, each with keys of its own', async () => {
  const [cam, plc] = [newIdentity(), newIdentity()];
  expect(adapter.login('cam', cam, byMac)).toBe('accepted');
  adapter.acknowledge();
  expect(adapter.login('plc', plc)).toBe('accepted');
  expect(bench.device('cam')).toMatchObject({ state: 'enrolled', signKey: cam.sign.publicKey });
  expect(adapter.login('cam', cam, { authType: AuthType.certificate })).toBe('accepted');
  // The adapter has the keys of its general nodes: they are no proof that one which has a secret is there.
  await expectRefused(bench, 'badCredentials', () => adapter.login('plc', plc, { authType: AuthType.certificate }));
  expect(adapter.closed).toBe(false);
  // The connection still speaks for the adapter, not for the general node.
  expect(adapter.login('cam', cam, byMac)).toBe('accepted');
  await expectRefused(bench, 'keyMismatch', () => adapter.login('cam', newIdentity(), byMac));
});

test('general nodes come in from nobody else', async () => {
  await expectRefused(bench, 'wrongAdapter', () => bench.connect().login('cam', identity, byMac));
  await expectRefused(bench, 'wrongAdapter', () => bench.connect().login('nobody', identity, byMac));
  await expectRefused(bench, 'wrongAdapter', () => bench.connect().login('plc', identity));
  const other = await enrolled(bench, 'other', newIdentity());
  await expectRefused(bench, 'wrongAdapter', () => other.login('cam', identity, byMac));
  await expectRefused(bench, 'wrongAdapter', () => other.login('plc', identity));
  await expectRefused(bench, 'badCredentials', () => other.login('plc', identity, { password: secretOf('cam') }));
  expect(other.closed).toBe(false);
});

test('general nodes do not come in after the connection of the adapter was refused or is another', async () => {
  const pretender = bench.connect();
  expect(pretender.login('gw', newIdentity(), { authType: AuthType.certificate })).toBe('badCredentials');
  pretender.receive(pretender.request('cam', identity, byMac));
  expect(pretender.answers).toHaveLength(1);
  adapter.close();
  await expectRefused(bench, 'wrongAdapter', () => bench.connect().login('cam', identity, byMac));
});

test('general nodes come in only with the MAC address and the method they are registered with', async () => {
  await expectRefused(bench, 'badCredentials', () =>
    adapter.login('cam', identity, { ...byMac, password: mac.with(5, 1) }),
  );
  await expectRefused(bench, 'badCredentials', () =>
    adapter.login('cam', identity, { ...byMac, password: mac.subarray(1) }),
  );
  await expectRefused(bench, 'badCredentials', () => adapter.login('cam', identity, { password: new Uint8Array(0) }));
  await expectRefused(bench, 'badCredentials', () =>
    adapter.login('plc', identity, { ...byMac, password: mac.with(5, 0xac) }),
  );
  await expectRefused(bench, 'badCredentials', () => adapter.login('gw', adapterKeys, byMac));
});

test('general nodes do not come in while they or their adapter are disabled', async () => {
  await bench.register.setEnabled('cam', false);
  await expectRefused(bench, 'disabled', () => adapter.login('cam', identity, byMac));
  await bench.register.setEnabled('cam', true);
  await bench.register.setEnabled('gw', false);
  await expectRefused(bench, 'disabled', () => adapter.login('cam', identity, byMac));
  await bench.register.setEnabled('gw', true);
  expect(adapter.login('cam', identity, byMac)).toBe('accepted');
});
