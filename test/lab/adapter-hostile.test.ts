/** What devices do to each other and to the adapter, and what becomes of the others meanwhile. */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { Adapter, type Device } from './toolkit/adapter.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import type { Node } from './toolkit/network.ts';
import { Pinger, smallNetwork } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

const floodFile = fileURLToPath(new URL('./toolkit/flood.ts', import.meta.url));
const attackFile = fileURLToPath(new URL('./toolkit/link-attack.ts', import.meta.url));

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
    await camera.host.run(['ping', '-c', '1', '-W', '4', String((await peer.status()).vip4)]);
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
    await mole.host.run(['ping', '-c', '1', '-W', '4', String((await peer.status()).vip4)]);
    const flood = mole.host.spawn([process.execPath, floodFile, target, '3', 'random']);
    await until(async () => ((await mole.status())?.peers[0]?.tx.packets ?? 0) > 1_000, { what: 'the flood' });
    // The adapter itself, as the peer has its share of the flood to bear.
    const pinger = new Pinger(camera.host, String((await adapter.status()).vip4), 0.02);
    await flood.done();
    const { sent, received } = await pinger.stop();
    // Behind the flood in one queue, a third of them were lost.
    expect(received).toBeGreaterThan(0.9 * sent);
  });

  it.each([
    ['offers of a DHCP server', ['server'], 'dhcp4-rogue-server'],
    ['router advertisements', ['router'], 'rogue-router'],
    ['a claim to the gateway’s address', ['claim', '100.80.0.1'], 'neighbour-spoofed'],
    ['a claim to a peer’s address', ['claim', '100.80.0.2'], 'neighbour-spoofed'],
  ])('logs and counts %s', async (_, words, reason) => {
    failing();
    const before = await counted(`link-drop-${reason}`);
    await attack(...words);
    await until(async () => (await counted(`link-drop-${reason}`)) > before, { what: reason });
    expect(adapter.daemon.stderr).toContain(`dropped on the inner link: ${reason}`);
    expect(adapter.daemon.stderr).toContain('"deviceId":"mole"');
  });

  it('counts frames with two tags, and carries none', async () => {
    failing();
    await attack('tags');
    await until(async () => (await counted('link-drop-frame-tag')) > 0, { what: 'the counter' });
  });

  it('keeps a stream whole through kill -9 and a pulled cable', async () => {
    failing();
    const { vip4 } = await peer.status();
    const running = stream(camera.host, peer.host, String(vip4), { mebibytes: 24, perSecond: 4 });
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
