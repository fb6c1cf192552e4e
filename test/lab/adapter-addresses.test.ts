/** How general nodes get their addresses: by the clients that devices have. What was said is well-formed. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { Adapter, type Device } from './toolkit/adapter.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import type { Node } from './toolkit/network.ts';
import type { Program } from './toolkit/program.ts';
import { smallNetwork } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

describeLab('general nodes get their addresses', () => {
  let lab: Lab;
  let adapter: Adapter;
  let peer: Node;
  let capture: Program;
  const file = (name: string): string => join(lab.directory, name);

  beforeAll(async () => {
    lab = new Lab('addresses');
    const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
    peer = nodes.peer;
    adapter = await Adapter.add(lab, network, 'adapter', internet, { v4: '192.0.2.80' });
    capture = adapter.link.spawn(['tcpdump', '-U', '-i', 'bridge', '-w', file('link.pcap')]);
  });

  afterAll(() => lab?.close());

  const plug = async (deviceId: string, flags: readonly string[] = []): Promise<Device> => {
    onTestFailed(() => console.error(lab.report()));
    const device = adapter.device(deviceId);
    await adapter.register(device, flags);
    return device;
  };

  /** The lease of a client that stays in the foreground. */
  const leased = (name: string, words: RegExp): Promise<string> =>
    until(() => words.exec(readFileSync(file(name), 'utf8'))?.[1], { what: `${words} in ${name}`, timeoutMs: 30_000 });

  const dhclient = (device: Device, family: '-4' | '-6', leases: string): Program => {
    device.host.sh(`: >${file(leases)}`);
    const files = ['-sf', '/bin/true', '-lf', file(leases), '-pf', file(`${leases}.pid`)];
    return device.host.spawn(['dhclient', family, '-d', '-v', ...files, 'eth0']);
  };

  it('by dhclient for IPv4, which names router, name server, domain and MTU', async () => {
    const device = await plug('one');
    const client = dhclient(device, '-4', 'leases4');
    expect(await leased('leases4', /fixed-address (\S+);/)).toBe((await device.is('active')).vip4);
    const lease = readFileSync(file('leases4'), 'utf8');
    for (const option of ['subnet-mask 255.255.0.0', 'routers 100.80.0.1', 'domain-name-servers 100.80.0.1']) {
      expect(lease).toContain(`option ${option};`);
    }
    await client.stop();
  });

  it('by dhclient for IPv6, after a router advertisement that the kernel takes', async () => {
    const device = await plug('two');
    const script = file('six');
    device.host.sh(`cat >${script} <<'END'
#!/bin/sh
[ -z "$new_ip6_address" ] || ip -6 address replace $new_ip6_address/128 dev eth0
END
chmod +x ${script}; : >${file('leases6')}`);
    const files = ['-sf', script, '-lf', file('leases6'), '-pf', file('pid6')];
    const client = device.host.spawn(['dhclient', '-6', '-d', '-v', ...files, 'eth0']);
    const { vip6 } = await device.is('active');
    expect(await leased('leases6', /iaaddr (\S+) \{/)).toBe(vip6);
    const routes = await until(() => /default via fe80\S+ dev eth0 proto ra/.exec(device.host.sh('ip -6 route')), {
      what: 'a default route by router advertisement',
    });
    expect(routes).not.toBeNull();
    const advertised = await device.host.run(['rdisc6', '-1', 'eth0']);
    expect(advertised).toMatch(/Stateful address conf\. +: +Yes/);
    expect(advertised).toMatch(/MTU +: +1400 bytes/);
    expect(advertised).toMatch(/Recursive DNS server +: +fd/);
    const target = (await peer.status()).vip6!;
    await device.host.run(['ping', '-6', '-c', '2', '-W', '4', target]);
    await peer.systemPing(String(vip6), ['-6']);
    await client.stop();
  });

  it('by dhcpcd, both families', async () => {
    const device = await plug('three');
    device.host.resolver('');
    const client = device.host.spawn(['dhcpcd', '-B', '-d', '--nohook', 'resolv.conf', '-f', '/dev/null', 'eth0']);
    const { vip4, vip6 } = await device.is('active');
    await until(
      () => {
        const addresses = device.host.sh('ip -o address show eth0');
        return addresses.includes(`${vip4}/`) && addresses.includes(`${vip6}/`);
      },
      { what: 'both addresses', timeoutMs: 30_000 },
    );
    await client.stop();
  });

  it('by hand, only one family', async () => {
    const four = await plug('four', ['--mode', 'ipv4']);
    const six = await plug('six', ['--mode', 'ipv6']);
    const { vip4, vip6 } = await adapter.network.show('four');
    expect(vip6).toBeNull();
    const other = await adapter.network.show('six');
    expect(other.vip4).toBeNull();
    const target = await peer.status();
    four.host.sh(`ip address add ${vip4}/16 dev eth0`);
    six.host.sh(`ip -6 address add ${other.vip6}/64 dev eth0`);
    await four.host.run(['ping', '-c', '2', '-W', '5', String(target.vip4)]);
    await six.host.run(['ping', '-c', '2', '-W', '5', String(target.vip6)]);
  });

  it('and every frame about it is well-formed', async () => {
    await capture.stop();
    // An empty capture would be well-formed too.
    for (const heard of ['dhcp.option.dhcp == 5', 'dhcpv6.msgtype == 7', 'icmpv6.type == 134', 'arp.opcode == 2']) {
      expect(await adapter.link.run(['tshark', '-r', file('link.pcap'), '-Y', heard]), heard).not.toBe('');
    }
    const read = ['tshark', '-r', file('link.pcap'), '-o', 'tcp.check_checksum:TRUE'];
    const filter = '_ws.expert.severity >= 0x600000 || _ws.malformed';
    expect(await adapter.link.run([...read, '-Y', `(${filter}) && (dhcp || dhcpv6 || icmpv6 || arp || eapol)`])).toBe(
      '',
    );
  });
});
