/** No routing loop and no way around the tunnel (protocol section 2.4): what must not happen, tried. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import { type Host, Lab } from './toolkit/lab.ts';
import { Network, Node } from './toolkit/network.ts';
import type { Lan } from './toolkit/segments.ts';
import { expectRefusal, secretFile } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { UdpAgent } from './toolkit/udp.ts';

/** What the firewall of a node dropped so far, by rule. */
function firewall(host: Host): Record<string, number> {
  const text = host.sh('nft list counters');
  return Object.fromEntries(
    [...text.matchAll(/counter (\w+) \{\s+packets (\d+)/g)].map(([, name, packets]) => [name!, Number(packets)]),
  );
}

async function counters(node: Node): Promise<Record<string, number>> {
  return ((await node.status()) as unknown as { counters: Record<string, number> }).counters;
}

const KNOCKS = 5;

/** Sends some datagrams; they have left when this returns. */
async function knock(from: UdpAgent, to: UdpAgent, address: string, text: string): Promise<void> {
  for (let i = 0; i < KNOCKS; i++) from.send({ address, port: to.port }, text);
  await from.sent();
}

/** A daemon with the token of a device, run to its end. */
async function upOn(host: Host, network: Network, deviceId: string) {
  const token = secretFile(network.lab, `${deviceId}.token`, await network.addDevice(deviceId));
  const state = join(network.lab.directory, `refused-${deviceId}`);
  return network.command(host, ['node', 'up', '--state', state, '--token-file', token, '--dns', 'none']);
}

describeLab('a node', () => {
  let lab: Lab;
  let lan: Lan;
  let network: Network;
  let a: Node;
  let b: Node;
  let neighbour: Host;

  beforeAll(async () => {
    lab = new Lab('filters');
    const internet = lab.internet();
    network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
    lan = lab.lan('lan', { subnet4: '203.0.113.0/24' });
    lab.router('router', { outside: internet, inside: lan, nat: 'none', v4: '192.0.2.77' });
    neighbour = lab.host('neighbour', lan);
    [a, b] = await Promise.all([
      network.addNode(lab.host('a', lan)),
      network.addNode(lab.host('b', internet, { v4: '192.0.2.12' })),
    ]);
    await a.systemPing(b.fqdn);
  });
  afterAll(() => lab?.close());

  it('takes nothing for or from the overlay off the wire', async () => {
    onTestFailed(() => console.error(lab.report()));
    const [vipA, vipB] = [String((await a.status()).vip4), String((await b.status()).vip4)];
    const real = String(a.host.addresses.v4);
    neighbour.sh(`ip route add ${vipA} via ${real}; ip address add ${vipB}/32 dev lo`);
    const service = await UdpAgent.start(a.host, 7000, '0.0.0.0');
    const honest = await UdpAgent.start(neighbour, 7001);
    const pretender = await UdpAgent.start(neighbour, 7002, vipB);
    const before = firewall(a.host);
    await honest.reach(service, 'to the host', { address: real, port: service.port });
    await knock(honest, service, vipA, 'to the overlay');
    await knock(pretender, service, real, 'from the overlay');
    await knock(pretender, service, vipA, 'both');
    const dropped = (rule: string): number => firewall(a.host)[rule]! - before[rule]!;
    await until(
      () =>
        dropped('overlay_destination_in') >= KNOCKS &&
        dropped('overlay_source_in') >= KNOCKS &&
        dropped('overlay_destination_in') + dropped('overlay_source_in') >= 3 * KNOCKS,
      { what: 'all of them to be dropped' },
    );
    const member = await UdpAgent.start(b.host, 7003, vipB);
    await member.reach(service, 'through the tunnel', { address: vipA, port: service.port });
    for (const text of ['to the overlay', 'from the overlay', 'both']) expect(service.got(text), text).toBeUndefined();
    await Promise.all([service, honest, pretender, member].map((agent) => agent.stop()));
    neighbour.sh(`ip address delete ${vipB}/32 dev lo; ip route delete ${vipA}`);
  });

  it('drops its own datagrams where the host routes them into the tunnel, and recovers', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { interface: tun } = await a.status();
    await a.systemPing(b.fqdn);
    a.host.sh(`ip route add 192.0.2.12/32 dev ${tun}`);
    const vip = String((await b.status()).vip4);
    await a.host.spawn(['ping', '-c', '3', '-i', '0.2', '-W', '1', vip], { input: '' }).ended();
    expect((await counters(a))['drop-outer-loop']).toBeGreaterThan(0);
    a.host.sh(`ip route delete 192.0.2.12/32 dev ${tun}`);
    // What was sent in between may be lost, and so may be the first packet after it.
    await until(() => succeeds(a.systemPing(vip, ['-W', '1'])), { what: 'a to reach b again' });
  });

  it('refuses to start where the overlay is there already', async () => {
    onTestFailed(() => console.error(lab.report()));
    // Another device on the host of a: the route into the tunnel of a is in its way, or its candidates were in there.
    expectRefusal(await upOn(a.host, network, 'nested'), 2, /100\.80\.0\.0\/16 overlaps .* cyp/);
    neighbour.sh('ip address add 100.80.99.1/24 dev lo');
    expectRefusal(await upOn(neighbour, network, 'addressed'), 2, /100\.80\.99\.1/);
    neighbour.sh('ip address delete 100.80.99.1/24 dev lo; ip route add 100.80.128.0/17 via 203.0.113.1');
    expectRefusal(await upOn(neighbour, network, 'routed'), 2, /100\.80\.128\.0\/17/);
    expect(neighbour.sh('nft list tables')).toBe('');
  });

  it('leaves nothing of the overlay to the default route when its daemon is killed', async () => {
    onTestFailed(() => console.error(lab.report()));
    const vip = String((await b.status()).vip4);
    const leaks = async (): Promise<boolean> => {
      const sniffer = a.host.spawn([
        'tcpdump',
        '-l',
        '-n',
        '--immediate-mode',
        '-i',
        'eth0',
        'dst',
        'net',
        '100.80.0.0/16',
      ]);
      await until(() => sniffer.stderr.includes('listening'), { what: 'tcpdump' });
      await a.host.spawn(['ping', '-c', '3', '-i', '0.2', '-W', '1', vip], { input: '' }).ended();
      await sniffer.stop();
      return sniffer.stdout.includes(vip);
    };
    expect(await leaks()).toBe(false);
    a.daemon.signal('SIGKILL');
    await a.daemon.exited;
    const before = firewall(a.host).overlay_destination_out!;
    expect(await leaks()).toBe(false);
    expect(firewall(a.host).overlay_destination_out).toBeGreaterThanOrEqual(before + 3);
    await a.command(['down']);
    expect(await leaks()).toBe(true);
    await a.up();
    await a.systemPing(b.fqdn);
    expect(await leaks()).toBe(false);
  });
});

describeLab('an address inside the overlay', () => {
  it('is sent to by nobody, even if an NMS that was tampered with offers it', () =>
    inLab('tampered', async (lab) => {
      const internet = lab.internet();
      const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
      const network = await Network.start(lab, cloud);
      await network.service.stop();
      // NMS and TRS believe in another overlay: to them, addresses of the real one are as good as any.
      for (const role of ['nms', 'trs']) {
        const file = join(network.directory, `${role}.yaml`);
        writeFileSync(file, readFileSync(file, 'utf8').replace(/^vip4: .*$/m, 'vip4: 100.99.0.0/16'));
        const service = cloud.spawn([network.program, role, 'serve', '--config', file]);
        await service.output(/^ready/m);
      }
      const as = ['as', 'serve', '--config', join(network.directory, 'cloud.yaml')];
      await cloud.spawn([network.program, ...as]).output(/^ready/m);

      const home = lab.lan('home', { subnet4: '10.20.0.0/24' });
      lab.router('router', { outside: internet, inside: home, nat: 'port-restricted', v4: '100.80.66.6' });
      const [a, b] = await Promise.all([
        network.addNode(lab.host('a', internet, { v4: '192.0.2.11' })),
        network.addNode(lab.host('b', home)),
      ]);
      expect((await b.status()).mapped).toEqual(['100.80.66.6:7444']);
      const sniffer = internet.namespace.spawn([
        'tcpdump',
        '-l',
        '-n',
        '--immediate-mode',
        '-i',
        'any',
        'host 192.0.2.11 and host 100.80.66.6',
      ]);
      await until(() => sniffer.stderr.includes('listening'), { what: 'tcpdump' });
      await a.host.spawn(['ping', '-c', '3', '-i', '0.3', '-W', '2', b.fqdn], { input: '' }).ended();
      await b.host.spawn(['ping', '-c', '3', '-i', '0.3', '-W', '2', a.fqdn], { input: '' }).ended();
      await sniffer.stop();
      expect(sniffer.stdout).not.toMatch(/192\.0\.2\.11\S* > 100\.80\.66\.6/);
      const counted = await counters(a);
      expect(counted['drop-forbidden-address']).toBeGreaterThan(0);
      expect(counted['drop-outer-loop']).toBeUndefined();
      // It offers it itself no more than it sends there.
      expect((await b.status()).nat).toBe(true);
    }));
});

describeLab('two networks on the same two hosts', () => {
  it('do not tunnel through each other', () =>
    inLab('nested', async (lab) => {
      const internet = lab.internet();
      const hosts = ['a', 'b'].map((name, i) => lab.host(name, internet, { v4: `192.0.2.${11 + i}` }));
      const first = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
      const pairs = [await Promise.all(hosts.map((host) => first.addNode(host)))];
      const inner = new Lab('inner');
      try {
        const cloud = inner.namespace('cloud2');
        const addresses = internet.attach(cloud, 'eth0', { v4: '198.51.100.20' });
        const second = await Network.start(inner, Object.assign(cloud, { addresses }), {
          domain: 'other.example',
          init: ['--vip4', '100.81.0.0/16'],
        });
        pairs.push(
          await Promise.all(
            hosts.map(async (host) => {
              const node = new Node(second, host, host.title, await second.addDevice(host.title));
              await node.up(['--dns', 'none']);
              return node;
            }),
          ),
        );
        for (const [here, there] of pairs as [Node, Node][]) {
          const { vip4 } = await there.status();
          for (const from of [here, there])
            expect((await from.status()) as unknown as { real: string[] }).toMatchObject({
              real: [expect.stringMatching(/^192\.0\.2\.1[12]:\d+$/)],
            });
          await here.systemPing(String(vip4), ['-c', '10', '-i', '0.1']);
          expect((await here.peer(there))?.endpoint).toMatch(/^192\.0\.2\.12:/);
        }
      } finally {
        await inner.close();
      }
    }));
});
