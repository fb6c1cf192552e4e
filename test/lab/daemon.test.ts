/** Daemons as their operators meet them: refusals, restarts, and nothing left behind. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Host, Lab } from './toolkit/lab.ts';
import { type Ended, Network, type Node } from './toolkit/network.ts';
import type { Internet } from './toolkit/segments.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

type Small = {
  readonly internet: Internet;
  readonly network: Network;
  readonly a: Node;
  readonly b: Node;
  readonly outsider: Host;
};

/** A cloud and two nodes, all on public addresses, and somebody else. */
async function small(lab: Lab): Promise<Small> {
  const internet = lab.internet();
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
  const outsider = lab.host('outsider', internet, { v4: '203.0.113.66' });
  const network = await Network.start(lab, cloud);
  const [a, b] = await Promise.all([
    network.addNode(lab.host('a', internet, { v4: '192.0.2.11' })),
    network.addNode(lab.host('b', internet, { v4: '192.0.2.12' })),
  ]);
  return { internet, network, a, b, outsider };
}

/** Refused with this exit code, one line that says `words`, and nothing on stdout. */
function expectRefusal(ended: Ended, code: number, words: RegExp): void {
  expect(ended).toMatchObject({ code, stdout: '' });
  // Log lines are JSON; what is left is for the operator.
  const lines = ended.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(words);
}

/** What a node changes on its host. */
function traces(host: Host): string {
  return host.sh(`
    ip -o link | grep -o 'cyp[0-9]*' || true
    ip route show table all | grep 100.80 || true
    nft list tables
    cat /etc/resolv.conf`);
}

describeLab('daemons', () => {
  it('refuse what cannot work, in one line and with the right exit code', () =>
    inLab('refusals', async (lab) => {
      const { network, a, outsider } = await small(lab);
      expectRefusal(await network.command(outsider, ['status', '--state', '/nonexistent']), 3, /daemon|running/);
      expectRefusal(await a.command(['node', 'up']), 2, /state directory/);
      expectRefusal(
        await network.command(outsider, ['node', 'up', '--state', '/nonexistent', '--no-such-option']),
        2,
        /no-such-option/,
      );
      expectRefusal(await network.command(network.cloud, ['cloud', 'serve', '--dir', network.directory]), 1, /port/);
      const token = await network.addDevice('once');
      const twice = (state: string) =>
        network.command(outsider, ['node', 'up', '--state', `${lab.directory}/${state}`, '--token', token]);
      const first = outsider.spawn([network.program, 'node', 'up', '--state', `${lab.directory}/1`, '--token', token]);
      await first.output(/^ready/m);
      await first.stop();
      expectRefusal(await twice('2'), 4, /once/);
    }));

  it('answer names from the overlay, and tell unknown ones apart', () =>
    inLab('names', async (lab) => {
      const { a, b } = await small(lab);
      const { resolver, vip4, vip6 } = await b.status();
      expect(resolver).toBe(`${vip4}:53`);
      const dig = (...args: string[]) => a.host.run(['dig', '+tries=1', '+time=5', ...args]);
      for (const transport of ['+notcp', '+tcp']) {
        expect((await dig(transport, '+short', b.fqdn, 'A')).trim()).toBe(vip4);
        expect((await dig(transport, '+short', b.fqdn, 'AAAA')).trim()).toBe(vip6);
        expect((await dig(transport, '+short', '-x', String(vip4))).trim()).toBe(`${b.fqdn}.`);
        expect((await dig(transport, '+short', '-x', String(vip6))).trim()).toBe(`${b.fqdn}.`);
        expect(await dig(transport, 'nobody.lab.example', 'A')).toContain('NXDOMAIN');
      }
      expect(await dig('lab.example', 'SOA')).toMatch(/NOERROR.*\sSOA\s/s);
    }));

  it('lose their tunnels within 10 s when their device is disabled or removed', () =>
    inLab('removal', async (lab) => {
      const { network, a, b } = await small(lab);
      await a.systemPing(b.fqdn);
      await network.device('disable', 'b');
      await until(async () => (await a.peer(b))?.state !== 'up', { what: 'the tunnel to b to end', timeoutMs: 10_000 });
      expect((await b.daemon.ended()).code).toBe(4);
      await expect(a.systemPing(b.fqdn)).rejects.toThrow();
      await network.device('enable', 'b');
      await b.up();
      await a.systemPing(b.fqdn);
      await network.device('remove', 'b');
      await until(async () => (await a.peer(b))?.state !== 'up', { what: 'the tunnel to b to end', timeoutMs: 10_000 });
      expect((await b.daemon.ended()).code).toBe(4);
      expect(await a.host.run(['dig', '+tries=1', b.fqdn])).toContain('NXDOMAIN');
    }));

  it('leave nothing behind, neither after SIGTERM nor after kill -9 and down', () =>
    inLab('traces', async (lab) => {
      const internet = lab.internet();
      const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
      const host = lab.host('a', internet, { v4: '192.0.2.11' });
      host.resolver('nameserver 198.51.100.53\n');
      const token = await network.addDevice('a');
      const state = `${lab.directory}/a`;
      const before = traces(host);
      const up = async () => {
        const daemon = host.spawn([network.program, 'node', 'up', '--state', state, '--token', token]);
        await daemon.output(/^ready/m);
        expect(traces(host)).not.toBe(before);
        return daemon;
      };
      const first = await up();
      expect(await first.stop()).toEqual({ code: 0, signal: null });
      expect(traces(host)).toBe(before);
      const second = await up();
      second.signal('SIGKILL');
      await second.exited;
      expect(await network.command(host, ['down', '--state', state])).toMatchObject({ code: 0 });
      expect(traces(host)).toBe(before);
      const third = await up();
      expect(await network.command(host, ['down', '--state', state])).toMatchObject({ code: 0 });
      expect((await third.ended()).code).toBe(0);
      expect(traces(host)).toBe(before);
    }));

  it('wait for a cloud that is not there yet, and survive one that is killed', () =>
    inLab('cloud-restart', async (lab) => {
      const { network, a, b } = await small(lab);
      await a.systemPing(b.fqdn);
      network.service.signal('SIGKILL');
      await network.service.exited;
      await a.systemPing(String((await b.status()).vip4), ['-c', '20', '-i', '0.1']);
      b.daemon.signal('SIGKILL');
      await b.daemon.exited;
      b.start();
      await until(async () => JSON.parse((await b.command(['status', '--json'])).stdout || '{}').state, {
        what: 'b to run without a cloud',
      });
      await network.restart();
      await b.daemon.output(/^ready/m);
      await until(
        () =>
          a.systemPing(b.fqdn).then(
            () => true,
            () => false,
          ),
        { what: 'a to reach b again' },
      );
    }));

  it('let nobody reach an overlay address around the tunnel', () =>
    inLab('around', async (lab) => {
      const { internet, a, b, outsider } = await small(lab);
      await a.systemPing(b.fqdn);
      const [vipA, vipB] = [(await a.status()).vip4, (await b.status()).vip4];
      // Whoever routes towards a's host can send it anything: also packets for, or in the name of, the overlay.
      internet.route(String(vipA), '192.0.2.11');
      internet.route(String(vipB), '203.0.113.66');
      await expect(outsider.run(['ping', '-c', '2', '-W', '1', String(vipA)])).rejects.toThrow('100% packet loss');
      outsider.sh(`ip address add ${vipB}/32 dev lo`);
      await expect(outsider.run(['ping', '-c', '2', '-W', '1', '-I', String(vipB), '192.0.2.11'])).rejects.toThrow(
        '100% packet loss',
      );
      await a.systemPing(b.fqdn);
      // Both were dropped by the rules and not by chance.
      const counted = a.host.sh('nft list counters');
      expect(counted).toMatch(/counter overlay_destination_in \{\s+packets [1-9]/);
      expect(counted).toMatch(/counter overlay_source_in \{\s+packets [1-9]/);
    }));

  it('do not send their own datagrams round and round when a route leads them into the tunnel', () =>
    inLab('loop', async (lab) => {
      const { a, b } = await small(lab);
      await a.systemPing(b.fqdn);
      const { interface: tun } = await a.status();
      a.host.sh(`ip route add 192.0.2.12 dev ${tun}`);
      const lost = await a.ping(b.fqdn, ['-c', '2']);
      expect(lost.replies.filter((reply) => reply.path === 'direct')).toEqual([]);
      expect((await a.status()).counters['drop-outer-loop']).toBeGreaterThan(0);
      // Each datagram of ours came round once: what the tunnel interface saw is a few packets, not thousands.
      expect(Number(a.host.sh(`cat /sys/class/net/${tun}/statistics/tx_packets`))).toBeLessThan(200);
      a.host.sh(`ip route delete 192.0.2.12 dev ${tun}`);
      await until(
        () =>
          a.systemPing(b.fqdn).then(
            () => true,
            () => false,
          ),
        { what: 'a to reach b again' },
      );
    }));
});
