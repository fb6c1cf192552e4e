/** Devices that an adapter lets in by IEEE 802.1X, with wpa_supplicant on them. */

import { expect, it } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { Adapter, type Device } from './toolkit/adapter.ts';
import { until } from './toolkit/command.ts';
import { secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { type Supplication, WpaSupplicant } from './toolkit/wpa-supplicant.ts';

/** Six devices, and programs that wait for one another. */
const PATIENCE_MS = 150_000;

describeLab('an adapter with 802.1X', () => {
  it(
    'lets devices in by certificate and by password, and nobody else',
    () =>
      inLab('adapter-dot1x', async (lab) => {
        const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
        const adapter = await Adapter.add(lab, network, 'gw', internet, { v4: '192.0.2.80' });
        const ca = await adapter.command(['adapter', 'ca', '--json']);
        const { name: server, certificate: root } = JSON.parse(ca.stdout) as { name: string; certificate: string };
        expect(server).toBe('gw.lab.example');
        const maker = await makeCertificate({ name: 'Maker', ca: 0 });
        const byCertificate = ['--auth', 'certificate', '--ca', secretFile(lab, 'maker.pem', maker.certificate)];
        const byPassword = ['--auth', 'password', '--password-file', secretFile(lab, 'password', 'correct horse\n')];
        const supplicant = (device: Device, how: Partial<Supplication>): WpaSupplicant =>
          new WpaSupplicant(device.host, lab.directory, {
            identity: device.deviceId,
            ...{ root, server },
            ...how,
          } as Supplication);

        const names = ['robot', 'camera', 'thief', 'foreigner', 'veteran', 'guesser'];
        const [robot, camera, thief, foreigner, veteran, guesser] = names.map((name) => adapter.device(name));
        await Promise.all([
          ...[robot, thief, foreigner, veteran].map((device) => adapter.register(device!, byCertificate)),
          ...[camera, guesser].map((device) => adapter.register(device!, byPassword)),
        ]);

        // Without a supplicant there is no address for it, whatever its MAC address.
        const asking = camera!.host.spawn([
          'udhcpc',
          '-i',
          'eth0',
          '-s',
          '/bin/true',
          '-n',
          '-q',
          '-f',
          '-t',
          '2',
          '-T',
          '1',
        ]);
        expect((await asking.ended()).code).toBe(1);
        expect(await camera!.status()).toMatchObject({ auth: 'password', state: 'seen' });

        const robots = await makeCertificate({ name: 'robot', issuer: maker });
        const robotic = supplicant(robot!, { certificate: robots, tls13: true });
        await robotic.saw('SUCCESS');
        const cameras = supplicant(camera!, { password: 'correct horse' });
        await cameras.saw('SUCCESS');
        for (const device of [robot!, camera!]) {
          await device.dhcp();
          await device.is('active');
          await device.host.run(['ping', '-c', '1', '-W', '10', nodes.peer.fqdn]);
        }

        // By the right CA, but another device's; by a foreign CA; of years ago; a wrong password: the AS says so.
        const elsewhere = await makeCertificate({ name: 'Maker', ca: 0 });
        const wrong: [Device, Partial<Supplication>, string][] = [
          [thief!, { certificate: robots }, 'certificateName'],
          [
            foreigner!,
            { certificate: await makeCertificate({ name: 'foreigner', issuer: elsewhere }) },
            'certificateUntrusted',
          ],
          [
            veteran!,
            { certificate: await makeCertificate({ name: 'veteran', issuer: maker, days: [-20, -10] }), tls13: true },
            'certificateExpired',
          ],
          [guesser!, { password: 'correct donkey' }, 'badCredentials'],
        ];
        await Promise.all(
          wrong.map(async ([device, how, reason]) => {
            await supplicant(device, how).saw('FAILURE');
            await device.is('refused');
            const said = `"deviceId":"${device.deviceId}","reason":"${reason}"`;
            await until(() => network.service.stderr.includes(said), { what: `${device.deviceId} to be ${reason}` });
          }),
        );

        // Whoever logs off is out, until it answers the question that its next frame brings: by a new handshake, as one counts once.
        for (const [device, supplicant] of [
          [robot!, robotic],
          [camera!, cameras],
        ] as const) {
          await supplicant.tell('logoff');
          const left = new RegExp(`"deviceId":"${device.deviceId}",.*"reason":"logoff"`);
          await until(() => left.test(adapter.daemon.stderr), { what: `${device.deviceId} to be logged off` });
          await supplicant.tell('logon');
          // Its first frame may be the one that brings the question.
          await device.host.run(['ping', '-c', '4', '-W', '10', nodes.peer.fqdn]);
          await device.is('active');
        }
      }),
    PATIENCE_MS,
  );

  it('hears devices behind a bridge of its own', () =>
    inLab('adapter-bridge', async (lab) => {
      const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
      const adapter = new Adapter(lab, network, 'gw', internet, await network.addDevice('gw'), { v4: '192.0.2.80' });
      adapter.host.sh('ip link add br0 address 02:00:5e:00:53:fe type bridge; ip link set br0 up');
      adapter.host.sh('ip link set eth1 master br0');
      await adapter.up(['--inner', 'br0']);
      const robot = adapter.device('robot');
      await adapter.register(robot, ['--auth', 'password', '--password-file', secretFile(lab, 'password', 'secret')]);
      const { stdout: root } = await adapter.command(['adapter', 'ca']);
      const how = { identity: 'robot@lab.example', password: 'secret', root, server: adapter.fqdn };
      await new WpaSupplicant(robot.host, lab.directory, how).saw('SUCCESS');
      await robot.dhcp();
      await robot.host.run(['ping', '-c', '1', '-W', '10', nodes.peer.fqdn]);
    }));
});
