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
  let thief: Device;
  const file = (name: string): string => join(lab.directory, name);

  beforeAll(async () => {
    lab = new Lab('addresses');
    const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
    peer = nodes.peer;
    adapter = await Adapter.add(lab, network, 'adapter', internet, { v4: '192.0.2.80' });
    capture = adapter.link.spawn(['tcpdump', '-U', '-i', 'bridge', '-w', file('link.pcap')]);
    await until(() => capture.stderr.includes('listening'), { what: 'the capture' });
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

  const counted = async (name: string): Promise<number> => (await adapter.status()).counters[name] ?? 0;
  /** Waits until something has been counted once more than before `cause`. */
  const counts = async (name: string, cause: () => void): Promise<void> => {
    const before = await counted(name);
    cause();
    await until(async () => (await counted(name)) > before, { what: `another ${name}` });
  };

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
    await device.host.run(['ping', '-6', '-c', '2', '-W', '10', target]);
    await peer.systemPing(String(vip6), ['-6']);
    await client.stop();
    // The next one begins with what it had, and asks whether that still holds.
    const again = device.host.spawn(['dhclient', '-6', '-d', '-v', ...files, 'eth0']);
    await until(() => /XMT: Confirm[\s\S]*RCV: Reply/.test(again.stderr), {
      what: 'a confirmation',
    });
    await again.stop();
    await counts('lease-released', () => void device.host.spawn(['dhclient', '-6', '-r', '-v', ...files, 'eth0']));
  });

  it('by udhcpc, which renews them, gives them back and finds them taken', async () => {
    const device = await plug('five', ['--mode', 'ipv4']);
    device.host.resolver('');
    const words = ['-i', 'eth0', '-s', adapter.leaseScript, '-f', '-R', '-B', '-t', '10', '-T', '1', '-A', '1'];
    const client = device.host.spawn(['udhcpc', ...words]);
    await until(() => client.stderr.includes('lease of'), { what: 'a lease' });
    const { vip4 } = await device.is('active');
    await counts('lease-bound', () => client.signal('SIGUSR1'));
    await counts('lease-released', () => client.signal('SIGUSR2'));
    await client.stop();
    device.host.sh('ip address flush dev eth0');
    thief = adapter.device('thief');
    thief.host.sh(`ip address add ${vip4}/16 dev eth0`);
    let careful: Program | undefined;
    await counts('lease-declined', () => {
      careful = device.host.spawn(['udhcpc', ...words, '-a']);
    });
    await careful?.stop();
    const said = 'dropped on the inner link: address-declined';
    await until(() => adapter.daemon.stderr.includes(said), { what: 'a word about it' });
    thief.host.sh('ip address flush dev eth0');
  });

  it('by dhcpcd, both families', async () => {
    const device = await plug('three');
    device.host.resolver('');
    // It takes the first reply (rapid commit).
    const words = ['-B', '-d', '--nohook', 'resolv.conf', '-f', '/dev/null', '-o', 'rapid_commit'];
    const client = device.host.spawn(['dhcpcd', ...words, 'eth0']);
    const { vip4, vip6 } = await device.is('active');
    await until(
      () => {
        const addresses = device.host.sh('ip -o address show eth0');
        return addresses.includes(`${vip4}/`) && addresses.includes(`${vip6}/`);
      },
      { what: 'both addresses', timeoutMs: 30_000 },
    );
    await counts('lease-bound', () => client.signal('SIGHUP'));
    // It gives back nothing of a family in which it is just asking.
    const again = [/RECONFIGURE[\s\S]*leased/, /RECONFIGURE[\s\S]*REPLY6 received[\s\S]*dhcpcd-run-hooks \w+6$/m];
    await until(() => again.every((words) => words.test(client.stderr)), { what: 'the same addresses again' });
    await counts('lease-released', () => client.signal('SIGALRM'));
    await client.ended();
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
    await four.host.run(['ping', '-c', '2', '-W', '10', String(target.vip4)]);
    await six.host.run(['ping', '-c', '2', '-W', '10', String(target.vip6)]);
    four.host.resolver('');
    const words = ['-A', '-B', '-d', '-4', '--nohook', 'resolv.conf', '-f', '/dev/null', '--inform', `${vip4}/16`];
    const client = four.host.spawn(['dhcpcd', ...words, 'eth0']);
    await until(() => /approval|acknowledged/.test(client.stderr), {
      what: 'what else it may know',
    });
    await client.stop();
  });

  it('and hears at the adapter of peers, of neighbours where they are, and of its own address from nobody', async () => {
    const [one, two] = [await plug('one6', ['--mode', 'ipv6']), await plug('two6', ['--mode', 'ipv6'])];
    const target = (await peer.status()).vip6;
    const addresses = await Promise.all(
      [one, two].map(async ({ deviceId }) => (await adapter.network.show(deviceId)).vip6),
    );
    for (const [i, { host }] of [one, two].entries()) {
      host.sh(`ip -6 address add ${addresses[i]}/64 dev eth0 nodad`);
      await host.run(['ping', '-6', '-c', '1', '-W', '10', String(target)]);
    }
    const adapterMac = adapter.host.sh('cat /sys/class/net/eth1/address').trim();
    const hears = async (address: string | null): Promise<string[]> => {
      const words = ['-m', '-q', '-r', '1', '-w', '3000', String(address), 'eth0'];
      const asking = one.host.spawn(['ndisc6', ...words], { input: '' });
      await asking.ended();
      return asking.stdout.toLowerCase().split('\n').filter(Boolean);
    };
    expect(await Promise.all([target, addresses[1]!, addresses[0]!].map(hears))).toEqual([[adapterMac], [two.mac], []]);
  });

  it('and every frame about it is well-formed', async () => {
    await capture.stop();
    const read = (...words: readonly string[]): Promise<string> =>
      adapter.link.run(['tshark', '-r', file('link.pcap'), '-o', 'tcp.check_checksum:TRUE', ...words]);
    // An empty capture would be well-formed too.
    const fields = ['dhcp.option.dhcp', 'dhcpv6.msgtype', 'dhcpv6.option.type', 'icmpv6.type', 'arp.opcode'];
    const frames = (await read('-T', 'fields', ...fields.flatMap((field) => ['-e', field])))
      .split('\n')
      .map((line) => line.split('\t'));
    const heard = (field: number, value: string): string[][] => frames.filter((frame) => frame[field] === value);
    // Acknowledgements, declines and what is only asked; replies, one of them to a solicitation; advertisements; answers.
    for (const type of ['4', '5', '7', '8']) expect(heard(0, type), `DHCP ${type}`).not.toEqual([]);
    for (const type of ['4', '7', '8']) expect(heard(1, type), `DHCPv6 ${type}`).not.toEqual([]);
    expect(heard(1, '7').some((frame) => frame[2]!.split(',').includes('14'))).toBe(true);
    expect(heard(3, '134')).not.toEqual([]);
    expect(heard(4, '2')).not.toEqual([]);
    const wrong = '(_ws.expert.severity >= 0x600000 || _ws.malformed)';
    // The thief's answers are remarkable, and shall be.
    const spoken = `(dhcp || dhcpv6 || icmpv6 || arp || eapol) && eth.src != ${thief.mac}`;
    expect(await read('-Y', `${wrong} && ${spoken}`)).toBe('');
  });
});
