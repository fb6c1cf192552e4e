/** The 802.1X authenticator against wpa_supplicant, on a cable in the laboratory. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { issueTlsServer, makeTlsRoot, type TlsIdentity } from '../../src/crypto/tls-certificate.ts';
import { type CertificateWish, type Issued, makeCertificate } from '../support/certificates.ts';
import type { AuthenticatorSettings } from './toolkit/authenticator-agent.ts';
import { until } from './toolkit/command.ts';
import type { Lab } from './toolkit/lab.ts';
import { cable, type Namespace } from './toolkit/namespace.ts';
import type { Program } from './toolkit/program.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { type Supplication, WpaSupplicant } from './toolkit/wpa-supplicant.ts';

const agent = new URL('./toolkit/authenticator-agent.ts', import.meta.url).pathname;
const flooder = new URL('./toolkit/eapol-flood.ts', import.meta.url).pathname;
const mac = '02:00:00:00:00:01';
/** Of tshark's severities. */
const EXPERT_WARNING = 0x600000;
const fqdn = 'gw.lab.example';
let root: TlsIdentity;
let server: TlsIdentity;
let maker: Issued;

beforeAll(async () => {
  root = await makeTlsRoot('lab.example', Date.now());
  server = await issueTlsServer(root, [fqdn], [], Date.now());
  maker = await makeCertificate({ name: 'Maker', ca: 1 });
});

type Link = {
  readonly lab: Lab;
  readonly device: Namespace;
  readonly gateway: Namespace;
  readonly authenticator: Program;
  readonly capture: Program;
  supplicant(how: Partial<Supplication>): WpaSupplicant;
};

/** A device and an authenticator on one cable, with `devices` let in; in the end nothing in the capture is malformed. */
async function onLink(
  title: string,
  devices: AuthenticatorSettings['devices'],
  body: (link: Link) => Promise<void>,
): Promise<void> {
  await inLab(title, async (lab) => {
    const device = lab.namespace('device');
    const gateway = lab.namespace('gateway');
    cable(gateway, 'eth1', device, 'eth0');
    device.sh(`ip link set eth0 address ${mac}`);
    const settings: AuthenticatorSettings = { server, tlsRoot: root.certificate, fqdn, devices };
    const file = join(lab.directory, 'authenticator.json');
    writeFileSync(file, JSON.stringify(settings));
    const authenticator = gateway.spawn([
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      agent,
      'eth1',
      file,
    ]);
    const pcap = join(lab.directory, 'eapol.pcap');
    const capture = gateway.spawn([
      'tcpdump',
      '-i',
      'eth1',
      '--immediate-mode',
      '-U',
      '-w',
      pcap,
      'ether proto 0x888e',
    ]);
    await authenticator.output(/^ready$/m);
    await until(() => /listening on/.test(capture.stderr), { what: 'tcpdump to listen' });
    const supplicant = (how: Partial<Supplication>): WpaSupplicant =>
      new WpaSupplicant(device, lab.directory, {
        identity: 'cam1',
        root: root.certificate,
        server: fqdn,
        ...how,
      } as Supplication);
    await body({ lab, device, gateway, authenticator, capture, supplicant });
    capture.signal('SIGINT');
    await capture.ended();
    await expectWellFormed(gateway, pcap);
  });
}

async function expectWellFormed(where: Namespace, pcap: string): Promise<void> {
  const fields = ['frame.number', '_ws.expert.severity', '_ws.expert.message'].flatMap((field) => ['-e', field]);
  const frames = (await where.run(['tshark', '-r', pcap, '-T', 'fields', ...fields])).split('\n').slice(0, -1);
  expect(frames.length).toBeGreaterThan(4);
  // A note, as that a request is repeated, is no fault.
  expect(frames.filter((frame) => Number(frame.split('\t')[1]) >= EXPERT_WARNING)).toEqual([]);
}

const password = { [mac]: { deviceId: 'cam1', password: 'correct horse' } };
const certificate = () => ({ [mac]: { deviceId: 'cam1', trustedCa: maker.certificate } });

const failure = (reason: string) => new RegExp(`^failed ${mac} ${reason}$`, 'm');
const refusal = (reason: string) => new RegExp(`^refused ${mac} ${reason}$`, 'm');
const authorised = new RegExp(`^authorised ${mac} cam1$`, 'm');

describeLab('802.1X with wpa_supplicant', () => {
  it.each([
    ['1.2', false],
    ['1.3', true],
  ])('lets a device in by its certificate over TLS %s, and again', (version, tls13) =>
    onLink(`eap-tls-${version}`, certificate(), async ({ authenticator, supplicant }) => {
      // A chain of RSA certificates takes more than one fragment.
      const factory = await makeCertificate({ name: 'Factory', ca: 0, issuer: maker, kind: 'rsa' });
      const camera = await makeCertificate({ name: 'cam1', issuer: factory, kind: 'rsa' });
      const chain = { ...camera, certificate: camera.certificate + factory.certificate };
      const device = supplicant({ certificate: chain, tls13 });
      await authenticator.output(authorised);
      await device.saw('SUCCESS');
      expect(await device.tell('status')).toContain(`eap_tls_version=TLSv${version}`);
      authenticator.write(`begin ${mac}\n`);
      await device.saw('SUCCESS', 2);
      // The second time is a whole handshake as well.
      expect(await device.tell('status')).toContain('tls_session_reused=0');
      expect((await counters(authenticator)).engines).toBe(2);
    }),
  );

  it('lets a device in by name and password, until it logs off', () =>
    onLink('eap-ttls', password, async ({ authenticator, supplicant }) => {
      const device = supplicant({ password: 'correct horse' });
      await authenticator.output(authorised);
      await device.saw('SUCCESS');
      await device.tell('logoff');
      await authenticator.output(failure('logoff'));
      await device.tell('logon');
      await device.saw('SUCCESS', 2);
    }));

  it('refuses a wrong password', () =>
    onLink('eap-ttls-wrong', password, async ({ authenticator, supplicant }) => {
      const device = supplicant({ password: 'incorrect horse' });
      await authenticator.output(refusal('badCredentials'));
      await authenticator.output(failure('refused'));
      await device.saw('FAILURE');
      expect(authenticator.stdout).not.toMatch(/^authorised/m);
    }));

  it.each<[string, string, () => Promise<Partial<CertificateWish>>]>([
    [
      'a foreign certificate',
      'certificateUntrusted',
      async () => ({ issuer: await makeCertificate({ name: 'Maker', ca: 0 }) }),
    ],
    ['an expired certificate', 'certificateExpired', async () => ({ days: [-20, -10] })],
  ])('refuses %s', (title, reason, wish) =>
    onLink(title.replaceAll(/\W+/g, '-'), certificate(), async ({ authenticator, supplicant }) => {
      const identity = await makeCertificate({ name: 'cam1', issuer: maker, ...(await wish()) });
      const device = supplicant({ certificate: identity, tls13: reason === 'certificateExpired' });
      await authenticator.output(refusal(reason));
      await device.saw('FAILURE');
      expect(authenticator.stdout).not.toMatch(/^authorised/m);
    }),
  );

  it('is refused itself by a device that trusts another network, or expects another adapter', () =>
    onLink('wrong-server', password, async ({ authenticator, supplicant }) => {
      const foreign = await makeTlsRoot('lab.example', Date.now());
      const device = supplicant({ password: 'correct horse', root: foreign.certificate });
      await authenticator.output(failure('tls'));
      await device.saw('FAILURE');
      expect(authenticator.stdout).not.toMatch(/^(authorised|refused)/m);
    }));

  it('goes on during a flood', () =>
    onLink('flood', { ...password, '02:00:00:00:00:02': { deviceId: 'cam2', password: 'x' } }, async (link) => {
      const { authenticator, device: host, supplicant } = link;
      const flood = host.spawn(
        [process.execPath, '--disable-warning=ExperimentalWarning', flooder, 'eth0', '02:00:00:00:00:02'],
        {
          input: '',
        },
      );
      await flood.output(/^flooding$/m);
      await supplicant({ password: 'correct horse' }).saw('SUCCESS');
      await until(async () => (await counters(authenticator)).frames! > 5_000, { what: 'a flood', intervalMs: 200 });
      flood.signal('SIGTERM');
      await flood.ended();
      const seen = await counters(authenticator);
      expect(seen['eapol-unknown-device']).toBeGreaterThan(1_000);
      expect(seen['eapol-too-often']! + seen['eap-unexpected']!).toBeGreaterThan(1_000);
      // Strangers get nothing; the other device's name brings it a question a second, and no TLS connection.
      expect(seen.engines).toBe(1);
      expect(seen.sent).toBeLessThan(seen.frames! / 50);
    }));
});

async function counters(authenticator: Program): Promise<Record<string, number>> {
  const asked = authenticator.stdout.length;
  authenticator.write('counters\n');
  const line = await until(() => /^counters (.*)$/m.exec(authenticator.stdout.slice(asked)), { what: 'counters' });
  return JSON.parse(line[1]!) as Record<string, number>;
}
