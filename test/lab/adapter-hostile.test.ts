/** What devices do to each other and to the adapter, and what becomes of the others meanwhile. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { Adapter, type Device } from './toolkit/adapter.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import type { Targets } from './toolkit/link-attack.ts';
import type { Namespace } from './toolkit/namespace.ts';
import type { Node } from './toolkit/network.ts';
import { Pinger, secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';
import { WpaSupplicant } from './toolkit/wpa-supplicant.ts';

const floodFile = fileURLToPath(new URL('./toolkit/flood.ts', import.meta.url));
const attackFile = fileURLToPath(new URL('./toolkit/link-attack.ts', import.meta.url));
const eapolFloodFile = fileURLToPath(new URL('./toolkit/eapol-flood.ts', import.meta.url));

describeLab('an adapter with hostile devices', () => {
  let lab: Lab;
  let adapter: Adapter;
  let peer: Node;
  let camera: Device;
  let mole: Device;

  beforeAll(async () => {
    lab = new Lab('hostile');
    const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
    peer = nodes.peer;
    adapter = await Adapter.add(lab, network, 'adapter', internet, { v4: '192.0.2.80' });
    [camera, mole] = [adapter.device('camera'), adapter.device('mole')];
    for (const device of [camera, mole]) await adapter.register(device);
    await Promise.all([camera.dhcp(), mole.dhcp()]);
    await camera.host.run(['ping', '-c', '1', '-W', '10', String((await peer.status()).vip4)]);
  });

  afterAll(() => lab?.close());

  const failing = (): void => onTestFailed(() => console.error(lab.report()));
  const attack = async (...words: string[]): Promise<void> => {
    await mole.host.run([process.execPath, attackFile, 'eth0', ...words]);
  };
  const counted = async (name: string): Promise<number> => (await adapter.status()).counters[name] ?? 0;

  it('serves the others while one asks for 10,000 addresses', async () => {
    failing();
    const late = adapter.device('late');
    const pinger = new Pinger(camera.host, String((await peer.status()).vip4));
    await adapter.register(late);
    const starving = attack('starve');
    await late.dhcp();
    await starving;
    await late.is('active');
    const { sent, received } = await pinger.stop();
    expect(received).toBe(sent);
    const { generalNodes } = await adapter.status();
    expect(generalNodes.filter(({ deviceId }) => deviceId === null).length).toBeLessThanOrEqual(256);
    expect(await counted('lease-bound')).toBeLessThanOrEqual(6);
  });

  it('carries what others send while one sends more than can be carried', async () => {
    failing();
    const target = `${(await peer.status()).vip4}:9`;
    await mole.host.run(['ping', '-c', '1', '-W', '10', String((await peer.status()).vip4)]);
    const flood = mole.host.spawn([process.execPath, floodFile, target, '3', 'random']);
    await until(async () => ((await mole.status())?.peers[0]?.tx.packets ?? 0) > 1_000, { what: 'the flood' });
    // The adapter itself, as the peer has its share of the flood to bear.
    const pinger = new Pinger(camera.host, String((await adapter.status()).vip4), 0.02);
    await flood.done();
    const { sent, received } = await pinger.stop();
    // Behind the flood in one queue, a third of them were lost.
    expect(received).toBeGreaterThan(0.9 * sent);
  });

  it('believes no frame under a false identity, and goes on for the others meanwhile', async () => {
    failing();
    const { vip4, vip6 } = await peer.status();
    const [near, own] = [await camera.is('active'), await mole.is('active')];
    const { gateway4, gateway6, counters: before } = await adapter.status();
    const adapterMac = adapter.host.sh('cat /sys/class/net/eth1/address').trim();
    const targets = {
      gateway: { mac: adapterMac, vip4: String(gateway4), vip6: String(gateway6) },
      neighbour: { mac: camera.mac, vip4: String(near.vip4), vip6: String(near.vip6) },
      self: { mac: mole.mac, vip4: String(own.vip4), vip6: String(own.vip6) },
      peer: { mac: '06:bb:00:00:00:02', vip4: String(vip4), vip6: String(vip6) },
      mark: 'not what it says',
      honest: 'what it is',
    } satisfies Targets;
    const [robot, victim] = [adapter.device('robot'), adapter.device('victim')];
    const password = ['--auth', 'password', '--password-file', secretFile(lab, 'password', 'secret')];
    for (const device of [robot, victim]) await adapter.register(device, password);
    const { name: server, certificate: root } = JSON.parse((await adapter.command(['adapter', 'ca', '--json'])).stdout);

    const listen = async (where: Namespace, name: string, ...filter: string[]) => {
      const file = join(lab.directory, `${where.title}-${name}.pcap`);
      const capture = where.spawn(['tcpdump', '-U', '--immediate-mode', '-i', name, '-w', file, ...filter]);
      await until(() => capture.stderr.includes('listening'), { what: 'a capture' });
      return async () => {
        await capture.stop();
        return readFileSync(file);
      };
    };
    const heard = await Promise.all([
      listen(peer.host, 'cyp0'),
      // What the adapter itself says to others than the one who lies.
      listen(adapter.host, 'eth1', '-Q', 'out', `not ether dst ${mole.mac}`),
      listen(adapter.host, 'eth0'),
      listen(adapter.host, 'cyp0'),
    ]);
    // What is said on the link itself, without any adapter in between, neither camera nor switch shall mind.
    camera.host.sh(`ip neigh replace ${vip4} lladdr ${adapterMac} dev eth0 nud permanent`);
    for (const mac of [camera.mac, adapterMac]) {
      adapter.link.sh(`
        port=$(bridge fdb show br bridge | sed -n 's/^${mac} dev \\(port[0-9]*\\) .*/\\1/p' | head -n 1)
        bridge fdb replace ${mac} dev $port master static sticky`);
    }
    const pinger = new Pinger(camera.host, String(vip4));
    // To the adapter alone: what floods the link itself stops the supplicants on it without any adapter in between.
    const flood = mole.host.spawn([process.execPath, eapolFloodFile, 'eth0', victim.mac, adapterMac, '10'], {
      input: '',
    });
    await flood.output(/^flooding$/m);
    const supplicant = new WpaSupplicant(robot.host, lab.directory, {
      identity: 'robot',
      root,
      server,
      password: 'secret',
    });
    await Promise.all([attack('lie', JSON.stringify(targets)), supplicant.saw('SUCCESS')]);
    flood.signal('SIGTERM');
    await flood.ended();
    await attack('garble', JSON.stringify(targets));
    const { sent, received } = await pinger.stop();
    expect(received).toBe(sent);
    expect(await robot.is('active')).toMatchObject({ auth: 'password' });
    const [atPeer, ...others] = await Promise.all(heard.map((end) => end()));
    const [, outside] = others;
    expect(atPeer!.includes(targets.honest)).toBe(true);
    // Nor does the truth leave in clear.
    expect(outside!.includes(targets.honest)).toBe(false);
    for (const [i, octets] of [atPeer!, ...others].entries()) {
      expect([i, octets.includes(targets.mark)]).toEqual([i, false]);
    }

    const { counters } = await adapter.status();
    const said = ['neighbour-spoofed', 'packet-spoofed', 'rogue-router', 'dhcp4-rogue-server', 'dhcp6-rogue-server'];
    for (const reason of said) expect(adapter.daemon.stderr).toContain(`dropped on the inner link: ${reason}`);
    const names = [...said, 'frame-tag', 'eap-unexpected'].map((reason) => `link-drop-${reason}`);
    for (const name of [...names, 'link-unregistered', 'drop-inner-source', 'drop-rate-limited']) {
      expect([name, (counters[name] ?? 0) > (before[name] ?? 0)]).toEqual([name, true]);
    }
    const garbled = Object.entries(counters).filter(([name]) => /^link-drop-.*-(malformed|checksum)$/.test(name));
    expect(garbled.reduce((sum, [name, count]) => sum + count - (before[name] ?? 0), 0)).toBeGreaterThan(40);
    // Nobody has come in, gone, or become somebody else.
    expect((await victim.status())?.state).not.toBe('active');
    expect(await camera.status()).toMatchObject({ state: 'active', vip4: near.vip4 });
    expect(await mole.status()).toMatchObject({ state: 'active', vip4: own.vip4 });
  });

  it('keeps a stream whole through kill -9 and a pulled cable', async () => {
    failing();
    const { vip4 } = await peer.status();
    const running = stream(camera.host, peer.host, String(vip4), { mebibytes: 24, perSecond: 4, patienceMs: 100_000 });
    await until(async () => ((await camera.status())?.peers[0]?.tx.packets ?? 0) > 500, { what: 'the stream' });
    adapter.daemon.signal('SIGKILL');
    await adapter.daemon.ended();
    await adapter.up();
    await until(async () => ((await camera.status())?.peers[0]?.tx.packets ?? 0) > 300, { what: 'the stream again' });
    adapter.link.sh('ip link set port1 down; sleep 1; ip link set port1 up');
    const { sent, received } = await running;
    expect(received).toBe(sent);
  });

  it('takes its router advertisements back when it stops', async () => {
    failing();
    const file = join(lab.directory, 'stop.pcap');
    const capture = adapter.link.spawn(['tcpdump', '-U', '--immediate-mode', '-i', 'bridge', '-w', file, 'icmp6']);
    await until(() => capture.stderr.includes('listening'), { what: 'the capture' });
    await adapter.daemon.stop();
    await capture.stop();
    const withdrawn = 'icmpv6.type == 134 && icmpv6.nd.ra.router_lifetime == 0';
    const said = await adapter.link.run(['tshark', '-r', file, '-Y', withdrawn, '-T', 'fields', '-e', 'eth.dst']);
    expect(said).toContain(camera.mac);
  });
});
