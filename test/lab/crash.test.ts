/** `kill -9` at any moment: what was set up is undone, what was promised is kept, and whoever talks goes on talking. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { until } from './toolkit/command.ts';
import { type Host, Lab } from './toolkit/lab.ts';
import type { Network, Node } from './toolkit/network.ts';
import { Pinger, type Small, secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

const former = 'nameserver 192.0.2.53\nsearch example.net\n';

function resolverFile(host: Host): string {
  return readFileSync(join('/etc/netns', host.name, 'resolv.conf'), 'utf8');
}

describeLab('after kill -9', () => {
  let lab: Lab;
  let small: Small<'a' | 'b' | 'c'>;
  let network: Network;

  beforeAll(async () => {
    lab = new Lab('crash');
    small = await smallNetwork(lab, ['a', 'b', 'c']);
    network = small.network;
  });
  afterAll(() => lab?.close());

  const kill = async (node: Node): Promise<void> => {
    node.daemon.signal('SIGKILL');
    await node.daemon.exited;
  };

  /** As soon as everybody concerned knows of the new life. */
  const reaches = (from: Node, to: Node) =>
    until(async () => (await from.ping(to.fqdn, ['-c', '1'])).received === 1, {
      what: `${from.deviceId} to reach ${to.deviceId}`,
      timeoutMs: 30_000,
    });

  it('a node gives its host the resolver file back, starts again and is believed by its peers', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { a, b } = small.nodes;
    await a.daemon.stop();
    a.host.resolver(former);
    await a.up();
    expect(resolverFile(a.host)).toContain(`nameserver ${(await a.status()).vip4}`);
    await b.systemPing(a.fqdn);
    const pinger = new Pinger(b.host, String((await a.status()).vip4));
    await until(() => pinger.answered.length > 2, { what: 'pings' });
    await kill(a);
    await until(() => resolverFile(a.host) === former, { what: 'the former resolver file' });
    const before = pinger.answered.length;
    await a.up();
    expect(resolverFile(a.host)).toContain('100.80.');
    // Without a word from us: by the pings that never stopped.
    await until(() => pinger.answered.length > before + 5, { what: 'pings of the new life' });
    await pinger.stop();
    await a.systemPing(b.fqdn);
    expect((await b.status()).peers.filter(({ fqdn }) => fqdn === a.fqdn)).toHaveLength(1);
  });

  it('a node leaves only what `down` removes', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { a } = small.nodes;
    await kill(a);
    expect(a.host.sh('nft list tables')).toMatch(/cyphonic_cyp/);
    expect(await a.command(['down'])).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(a.host.sh('nft list tables; ip -o link show type tun; ip route show table all | grep 100.80 || true')).toBe(
      '',
    );
    expect(resolverFile(a.host)).toBe(former);
    expect(await a.command(['down'])).toMatchObject({ code: 3, stdout: '' });
    await a.up();
    await reaches(a, small.nodes.b);
  });

  it('in the middle of its enrolment a node enrols all the same, with the same token', async () => {
    onTestFailed(() => console.error(lab.report()));
    const token = secretFile(lab, 'patient.token', await network.addDevice('patient'));
    const state = join(lab.directory, 'patient');
    const args = ['node', 'up', '--state', state, '--token-file', token];
    for (const afterMs of [150, 300, 450, 600, 750, 900, 1_200]) {
      const daemon = small.outsider.spawn([network.program, ...args]);
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      daemon.signal('SIGKILL');
      await daemon.exited;
    }
    const daemon = small.outsider.spawn([network.program, ...args]);
    await daemon.output(/^ready patient/m);
    const ping = ['ping', 'b', '-c', '1', '--state', state];
    expect(await network.command(small.outsider, ping)).toMatchObject({ code: 0 });
    await daemon.stop();
  });

  it('the cloud lets established pairs talk, remembers what it answered for and serves as before', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { a, b, c } = small.nodes;
    await a.systemPing(b.fqdn);
    const pinger = new Pinger(a.host, String((await b.status()).vip4));
    await until(() => pinger.answered.length > 2, { what: 'pings' });

    // Devices are added and enrolled up to the very end.
    const added: string[] = [];
    let adding = true;
    const administrator = (async () => {
      while (adding) {
        const name = `d${added.length}`;
        await network.addDevice(name);
        added.push(name);
      }
    })();
    const token = secretFile(lab, 'last.token', await network.addDevice('last'));
    const last = small.outsider.spawn([
      ...[network.program, 'node', 'up', '--token-file', token, '--state', join(lab.directory, 'last')],
    ]);
    await last.output(/^ready last/m);
    network.service.signal('SIGKILL');
    await network.service.exited;
    await until(() => added.length > 4, { what: 'devices added while the cloud is down' });
    await network.restart();
    adding = false;
    await administrator;

    const { stdout } = await network.command(network.cloud, ['device', 'list', '--dir', network.directory, '--json']);
    const devices = JSON.parse(stdout) as { deviceId: string; state: string }[];
    for (const name of added) expect(devices.map(({ deviceId }) => deviceId)).toContain(name);
    for (const name of ['a', 'b', 'c', 'last'])
      expect(devices).toContainEqual(expect.objectContaining({ deviceId: name, state: 'enrolled' }));

    // A pair that never talked, of which neither end has said anything to this life of the cloud.
    await c.systemPing(a.fqdn);
    const ping = ['ping', 'b', '-c', '1', '--state', join(lab.directory, 'last')];
    await until(async () => (await network.command(small.outsider, ping)).code === 0, {
      what: 'the device enrolled last to reach b',
      timeoutMs: 30_000,
    });
    const { sent, received } = await pinger.stop();
    expect(sent - received).toBe(0);
    await last.stop();
  });
});
