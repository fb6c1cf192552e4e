import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { certifyTlsServer, makeTlsKey, makeTlsRoot, type TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { ServerCertificate } from '../../../src/roles/adapter/server-certificate.ts';

const DAY = 86_400_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function issue(): Promise<TlsIdentity> {
  const root = await makeTlsRoot('lab.example', Date.now());
  const { publicKey, privateKey } = await makeTlsKey();
  const names = { names: ['gw.lab.example'], wall: Date.now(), days: 30 };
  return { certificate: await certifyTlsServer(root, publicKey, names), privateKey };
}

it('is fetched when it is wanted, again after a failure, and renewed at half of its time', async () => {
  const identities = [await issue(), await issue()];
  const issued: (TlsIdentity | null)[] = [];
  let fetched = 0;
  const certificate = new ServerCertificate({
    fetch: async () => (++fetched <= 2 ? Promise.reject(new Error('no answer')) : identities[fetched - 3]!),
    log: silentLog,
    onIssued: () => issued.push(certificate.identity),
  });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(fetched).toBe(0);
  certificate.want();
  certificate.want();
  await vi.advanceTimersByTimeAsync(999);
  expect([fetched, certificate.identity]).toEqual([1, null]);
  await vi.advanceTimersByTimeAsync(1);
  expect(fetched).toBe(2);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(issued).toEqual([identities[0]]);
  await vi.advanceTimersByTimeAsync(14.9 * DAY);
  expect(fetched).toBe(3);
  await vi.advanceTimersByTimeAsync(0.2 * DAY);
  expect(issued).toEqual(identities);
  certificate.close();
  await vi.advanceTimersByTimeAsync(60 * DAY);
  expect(fetched).toBe(4);
});

const camera = '02:00:00:00:00:01';
const plc = '02:00:00:00:00:02';

/** One that numbers what it is given, and fails where that is null. */
function numbered() {
  const answers: (TlsIdentity | null)[] = [];
  let asked = 0;
  const certificate = new ServerCertificate({
    fetch: async () => answers[asked++] ?? Promise.reject(new Error('no answer')),
    log: silentLog,
    onIssued: () => {},
  });
  return { answers, certificate, numberFor: async (mac: string) => answers.indexOf(await certificate.newTo(mac)) };
}

it('is new to each device each time, and otherwise one for all that come within three minutes', async () => {
  const { answers, certificate, numberFor } = numbered();
  for (let i = 0; i < 5; i++) answers.push(await issue());
  certificate.want();
  await vi.advanceTimersByTimeAsync(0);
  expect(await Promise.all([numberFor(camera), numberFor(plc)])).toEqual([0, 0]);
  expect(await Promise.all([numberFor(camera), numberFor(plc)])).toEqual([1, 1]);
  certificate.loggedIn('02:00:00:00:00:03');
  expect([await numberFor('02:00:00:00:00:03'), await numberFor(camera)]).toEqual([2, 2]);
  await vi.advanceTimersByTimeAsync(179_000);
  expect(await numberFor('02:00:00:00:00:04')).toBe(2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await numberFor('02:00:00:00:00:05')).toBe(3);
  certificate.close();
});

it('is the one there is while no other can be had', async () => {
  const { answers, certificate, numberFor } = numbered();
  answers.push(await issue(), null, null, await issue());
  certificate.want();
  await vi.advanceTimersByTimeAsync(0);
  expect([await numberFor(camera), await numberFor(camera), await numberFor(camera)]).toEqual([0, 0, 0]);
  expect(await numberFor(camera)).toBe(3);
  certificate.close();
});
