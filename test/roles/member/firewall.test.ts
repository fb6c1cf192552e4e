import { expect, it } from 'vitest';
import { parsePrefix } from '../../../src/lib/ip.ts';
import type { FirewallCounters } from '../../../src/roles/member/firewall.ts';
import { runTool } from '../../../src/sys/tool.ts';
import { succeeds, until } from '../../lab/toolkit/command.ts';
import type { Host, Lab } from '../../lab/toolkit/lab.ts';
import { cable, type Namespace } from '../../lab/toolkit/namespace.ts';
import { describeLab, inLab } from '../../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../../support/remote.ts';

const overlay = ['100.80.0.0/16', 'fd00:80::/64'].map((text) => parsePrefix(text)!);
const plan = { interface: 'cyp0', overlay };
const firewall = modulePath('src/roles/member/firewall.ts');

function pings(from: Namespace, target: string, ...options: readonly string[]): boolean {
  return succeeds(['ip', 'netns', 'exec', from.name, 'ping', '-c1', '-W1', ...options, target]);
}

const macOf = (host: Namespace): string => host.sh('cat /sys/class/net/eth0/address').trim();

/** A host with virtual addresses and a neighbour that knows a way to them around the tunnel. */
function prepare(lab: Lab): { host: Host; stranger: Host } {
  const lan = lab.lan('lan', { subnet4: '192.0.2.0/24', subnet6: '2001:db8:1::/64' });
  const host = lab.host('host', lan);
  const stranger = lab.host('stranger', lan);
  host.sh(`
    ip tuntap add dev cyp0 mode tun
    ip addr add 100.80.0.2/32 dev cyp0
    ip addr add fd00:80::2/128 dev cyp0
    ip link set cyp0 up`);
  stranger.sh(`
    ip route add 100.80.0.0/16 via ${host.addresses.v4}
    ip route add fd00:80::/64 via ${host.addresses.v6}
    ip addr add 100.80.0.77/32 dev lo
    ip addr add fd00:80::77/128 dev lo`);
  host.sh(`
    ip route add 100.80.0.0/16 via ${stranger.addresses.v4}
    ip route add fd00:80::/64 via ${stranger.addresses.v6}`);
  return { host, stranger };
}

describeLab('the firewall of a node', () => {
  it('lets nothing of the overlay in or out but through the TUN', () =>
    inLab('firewall', async (lab) => {
      const { host, stranger } = prepare(lab);
      const around = (): boolean[] => [
        pings(stranger, '100.80.0.2', '-I', stranger.addresses.v4!),
        pings(stranger, 'fd00:80::2', '-I', stranger.addresses.v6!),
        pings(stranger, host.addresses.v4!, '-I', '100.80.0.77'),
        pings(stranger, host.addresses.v6!, '-I', 'fd00:80::77'),
        pings(host, '100.80.0.77', '-I', host.addresses.v4!),
        pings(host, stranger.addresses.v4!, '-I', '100.80.0.2'),
      ];
      const beside = (): boolean[] => [
        pings(host, '100.80.0.2'),
        pings(host, 'fd00:80::2'),
        pings(host, stranger.addresses.v4!),
        pings(stranger, host.addresses.v6!),
      ];
      // Without the firewall every one of these ways is open, else its closing would show nothing.
      expect(around()).toEqual([true, true, true, true, true, true]);
      const remote = new Remote(host, firewall);
      await remote.call('raiseFirewall', plan);
      expect(around()).toEqual([false, false, false, false, false, false]);
      expect(beside()).toEqual([true, true, true, true]);
      expect(await remote.call<FirewallCounters>('readFirewall', 'cyp0')).toEqual({
        overlay_destination_in: 2,
        overlay_source_in: 2,
        overlay_destination_out: 1,
        overlay_source_out: 1,
      });
      await remote.call('removeFirewall', 'cyp0');
      expect(around()).toEqual([true, true, true, true, true, true]);
    }));

  it('lets the kernel hear and say nothing on an adapter’s inner link', () =>
    inLab('firewall inner', async (lab) => {
      const { host, stranger } = prepare(lab);
      const linkLocal = /inet6 (fe80::[^/]*)/.exec(host.sh('ip -6 addr show dev eth0'))![1]!;
      const targets = [`${linkLocal}%eth0`, host.addresses.v4!, host.addresses.v6!];
      const around = (): boolean[] => targets.map((target) => pings(stranger, target));
      expect(around()).toEqual([true, true, true]);
      const remote = new Remote(host, firewall);
      for (const internet of [false, true]) {
        await remote.call('raiseFirewall', { ...plan, inner: { inner: 'eth0', outer: 'eth1', internet } });
        expect(around()).toEqual([false, false, false]);
      }
      const ear = stranger.spawn(['tcpdump', '-n', '-l', '-i', 'eth0', `ether src ${macOf(host)} and ip6`]);
      await until(() => ear.stderr.includes('listening'), { what: 'the capture' });
      // As mDNS does, and a host that looks for routers or hears of a neighbour; but for what it listens to.
      pings(host, 'ff02::fb%eth0');
      pings(host, 'ff02::2%eth0');
      host.sh('ip address add fd77::1/64 dev eth0');
      await ear.output(/HBH ICMP6, multicast listener report/);
      expect(ear.stdout.split('\n').filter((line) => line !== '' && !line.includes('listener report'))).toEqual([]);
      await ear.stop();
    }));

  it('forwards nothing of the overlay for others', () =>
    inLab('firewall forward', async (lab) => {
      const { host, stranger } = prepare(lab);
      const victim = lab.namespace('victim');
      cable(host, 'eth1', victim, 'eth0');
      host.forward();
      host.sh('ip addr add 198.51.100.1/24 dev eth1; ip route add 100.80.0.9/32 via 198.51.100.2');
      victim.sh('ip addr add 198.51.100.2/24 dev eth0; ip addr add 100.80.0.9/32 dev lo');
      victim.sh('ip route add default via 198.51.100.1');
      const asStranger = ['-I', stranger.addresses.v4!];
      expect(pings(stranger, '100.80.0.9', ...asStranger)).toBe(true);
      const remote = new Remote(host, firewall);
      await remote.call('raiseFirewall', plan);
      expect(pings(stranger, '100.80.0.9', ...asStranger)).toBe(false);
    }));

  it('is replaced as a whole, and removed whether it is there or not', () =>
    inLab('firewall replace', async (lab) => {
      const host = lab.namespace('host');
      const remote = new Remote(host, firewall);
      const tables = (): string => host.sh('nft list tables');
      await remote.call('raiseFirewall', plan);
      const once = host.sh('nft list ruleset');
      await remote.call('raiseFirewall', plan);
      expect(host.sh('nft list ruleset')).toBe(once);
      await remote.call('raiseFirewall', { ...plan, interface: 'cyp1' });
      expect(tables()).toBe('table inet cyphonic_cyp0\ntable inet cyphonic_cyp1\n');
      await remote.call('removeFirewall', 'cyp0');
      await remote.call('removeFirewall', 'cyp0');
      expect(tables()).toBe('table inet cyphonic_cyp1\n');
      expect(await remote.call('readFirewall', 'cyp0')).toBeNull();
    }));

  it('says in one line which package is missing', async () => {
    await expect(runTool('nft', ['list', 'tables'], { path: '/nowhere' })).rejects.toMatchObject({
      code: 'SYS_TOOL_MISSING',
      message: 'nft is missing on this system; install the package nftables',
    });
  });
});
