import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parsePrefix } from '../../../src/lib/ip.ts';
import type { Lab } from '../../lab/toolkit/lab.ts';
import type { Namespace } from '../../lab/toolkit/namespace.ts';
import { describeLab, inLab } from '../../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../../support/remote.ts';

const setup = modulePath('src/roles/member/interface-setup.ts');

function plan(lab: Lab, name = 'cyp0') {
  return {
    stateDirectory: join(lab.directory, 'state'),
    interface: name,
    overlay: ['100.80.0.0/16', 'fd00:80::/64'].map((text) => parsePrefix(text)!),
    mtu: 1400,
    vip4: '100.80.0.2',
    vip6: 'fd00:80::2',
  };
}

/** An adapter's other side, where these interfaces shall merge nothing. */
function inner(unmerged: readonly string[]) {
  return { inner: 'eth1', outer: 'eth2', internet: false, gateways: [], settings: [], unmerged };
}

function prepare(lab: Lab): Namespace {
  mkdirSync(join(lab.directory, 'state'));
  const host = lab.namespace('host');
  host.sh('ip tuntap add dev cyp0 mode tun; ip tuntap add dev cyp1 mode tun');
  return host;
}

describeLab('the interface of a node', () => {
  it('has its addresses, routes and firewall when it is up', () =>
    inLab('interface', async (lab) => {
      const host = prepare(lab);
      expect(await new Remote(host, setup).call('bringInterfaceUp', plan(lab))).toEqual([]);
      const [link] = JSON.parse(host.sh('ip -j addr show dev cyp0')) as [
        { mtu: number; flags: string[]; addr_info: { local: string; prefixlen: number; tentative?: boolean }[] },
      ];
      expect(link.mtu).toBe(1400);
      expect(link.flags).toContain('UP');
      expect(link.addr_info.map((a) => `${a.local}/${a.prefixlen}${a.tentative ? ' tentative' : ''}`)).toEqual([
        '100.80.0.2/32',
        'fd00:80::2/128',
      ]);
      expect(host.sh('ip route get 100.80.7.7')).toMatch(/dev cyp0 src 100\.80\.0\.2/);
      expect(host.sh('ip route get fd00:80::77')).toMatch(/dev cyp0 .*src fd00:80::2/);
      expect(host.sh('nft list tables')).toBe('table inet cyphonic_cyp0\n');
    }));

  it('is undone by another process after the daemon was killed, once', () =>
    inLab('interface down', async (lab) => {
      const host = prepare(lab);
      host.sh('ip link add eth1 type veth peer eth2; ethtool -K eth1 gro on');
      const daemon = new Remote(host, setup);
      await daemon.call('bringInterfaceUp', { ...plan(lab), inner: inner(['eth1']) });
      daemon.program.signal('SIGKILL');
      await daemon.program.exited;
      expect(host.sh('nft list tables')).toBe('table inet cyphonic_cyp0\n');
      expect(host.sh('ethtool -k eth1')).toContain('generic-receive-offload: off');
      const other = new Remote(host, setup);
      // Also where the next one would have left that alone.
      await other.call('bringInterfaceUp', { ...plan(lab), inner: inner([]) });
      expect(await other.call('takeInterfaceDown', plan(lab).stateDirectory)).toBe(true);
      expect(host.sh('nft list tables')).toBe('');
      expect(host.sh('ethtool -k eth1')).toContain('generic-receive-offload: on');
      expect(await other.call('takeInterfaceDown', plan(lab).stateDirectory)).toBe(false);
    }));

  it('is undone in its own network namespace only', () =>
    inLab('interface elsewhere', async (lab) => {
      const host = prepare(lab);
      await new Remote(host, setup).call('bringInterfaceUp', plan(lab));
      const elsewhere = lab.namespace('elsewhere');
      elsewhere.sh('nft add table inet cyphonic_cyp0');
      const stranger = new Remote(elsewhere, setup);
      await expect(stranger.call('takeInterfaceDown', plan(lab).stateDirectory)).rejects.toMatchObject({
        code: 'USAGE_OTHER_NAMESPACE',
      });
      for (const namespace of [host, elsewhere]) {
        expect(namespace.sh('nft list tables')).toBe('table inet cyphonic_cyp0\n');
      }
    }));

  it('takes the place of what a killed daemon left under another name', () =>
    inLab('interface again', async (lab) => {
      const host = prepare(lab);
      const remote = new Remote(host, setup);
      await remote.call('bringInterfaceUp', plan(lab, 'cyp0'));
      await remote.call('bringInterfaceUp', plan(lab, 'cyp1'));
      expect(host.sh('nft list tables')).toBe('table inet cyphonic_cyp1\n');
    }));

  it('has IPv6 also where new interfaces have none', () =>
    inLab('interface without IPv6', async (lab) => {
      const host = prepare(lab);
      host.sh('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; ip tuntap add dev cyp2 mode tun');
      expect(await new Remote(host, setup).call('bringInterfaceUp', plan(lab, 'cyp2'))).toEqual([]);
      expect(host.sh('ip -6 addr show dev cyp2')).toContain('fd00:80::2/128');
    }));

  it('must exist and have a name that nftables takes', () =>
    inLab('interface names', async (lab) => {
      const host = prepare(lab);
      const remote = new Remote(host, setup);
      await expect(remote.call('bringInterfaceUp', plan(lab, 'cyp9'))).rejects.toMatchObject({
        code: 'SYS_NO_INTERFACE',
      });
      await expect(remote.call('bringInterfaceUp', plan(lab, 'a; flush ruleset'))).rejects.toMatchObject({
        code: 'BUG_ARGUMENT',
      });
    }));
});
