/** What is said to whoever uses the program wrongly, or on a host where it cannot work: one line and an exit code. */

import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { makeTlsRoot } from '../../src/crypto/tls-certificate.ts';
import { type Host, Lab } from './toolkit/lab.ts';
import type { Ended, Network, Node } from './toolkit/network.ts';
import type { ProgramOptions } from './toolkit/program.ts';
import { expectRefusal, type Small, secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { UdpAgent } from './toolkit/udp.ts';

const DAY_MS = 86_400_000;
/** Root without any of root's powers. */
const powerless = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];

/** Runs a command of the program behind another one, such as `setpriv`. */
async function behind(
  prefix: readonly string[],
  network: Network,
  host: Host,
  args: readonly string[],
): Promise<Ended> {
  const program = host.spawn([...prefix, network.program, ...args], { input: '' });
  return { ...(await program.ended()), stdout: program.stdout, stderr: program.stderr };
}

describeLab('wrong usage', () => {
  let lab: Lab;
  let small: Small<'a'>;
  let network: Network;
  let a: Node;
  let host: Host;

  beforeAll(async () => {
    lab = new Lab('usage');
    small = await smallNetwork(lab, ['a']);
    network = small.network;
    a = small.nodes.a;
    host = small.outsider;
  });
  afterAll(() => lab?.close());

  const run = (args: readonly string[], options: ProgramOptions = {}) => network.command(host, args, options);
  const place = (name: string) => join(lab.directory, name);
  const tokenFile = async (deviceId: string) => secretFile(lab, `${deviceId}.token`, await network.addDevice(deviceId));

  it('of options and files is answered with code 2', async () => {
    onTestFailed(() => console.error(lab.report()));
    const state = place('nothing');
    expectRefusal(await run(['node', 'up', '--state', state, '--bogus']), 2, /--bogus.*--help/);
    expectRefusal(await run(['node', 'up', '--bogus']), 2, /--bogus/);
    expectRefusal(await run(['no-such-command']), 2, /no-such-command.*--help/);
    expectRefusal(await run(['node', 'up', '--state', state, '--port', '70000']), 2, /70000.*1 to 65535/);
    expectRefusal(await run(['node', 'up', '--state', state, '--suite', 'rot13']), 2, /rot13.*aes-256-gcm/);
    expectRefusal(await run(['node', 'up', '--state', state]), 2, /--token-file/);
    expectRefusal(await run(['node', 'up', '--state', state, '--token', 'cyp1_abc']), 2, /cyp1_/);
    expectRefusal(await run(['node', 'up', '--state', state, '--token-file', place('none')]), 2, /none.*ENOENT/);
    for (const [name, content, words] of [
      ['bogus.yaml', 'bogus: 1\n', /bogus.yaml.*"bogus".*known/],
      ['broken.yaml', 'port: [1\n', /broken.yaml/],
      ['list.yaml', '- port\n', /list.yaml/],
    ] as const) {
      writeFileSync(place(name), content);
      expectRefusal(await run(['node', 'up', '--state', state, '--config', place(name)]), 2, words);
    }
    expectRefusal(await run(['node', 'up', '--state', state, '--config', place('no.yaml')]), 2, /no.yaml.*ENOENT/);
  });

  it('of a state directory is told from one without a daemon', async () => {
    onTestFailed(() => console.error(lab.report()));
    for (const command of [['status'], ['status', '--json'], ['ping', 'b'], ['down']]) {
      const advice =
        command[0] === 'down' ? /no daemon runs on .*nothing.*--state/ : /no daemon runs on .*nothing.*node up/;
      expectRefusal(await run([...command, '--state', place('nothing')]), 3, advice);
    }
    expectRefusal(await a.command(['node', 'up']), 2, /state directory.*cyphonic down/);
    writeFileSync(place('file'), '');
    expectRefusal(await run(['node', 'up', '--state', place('file/state')]), 2, /file\/state.*ENOTDIR/);
    expectRefusal(await run(['node', 'up', '--state', '/proc/cyphonic']), 2, /\/proc\/cyphonic/);
    expectRefusal(await behind(powerless, network, host, ['node', 'up', '--state', a.state]), 2, /another daemon/);
  });

  it('on a host without what it needs is told before the network is asked', async () => {
    onTestFailed(() => console.error(lab.report()));
    const args = ['node', 'up', '--state', place('poor'), '--token-file', await tokenFile('poor')];
    expectRefusal(await behind(powerless, network, host, args), 1, /TUN.*root/);
    const hidden = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh'];
    expectRefusal(await behind(hidden, network, host, args), 1, /no TUN device.*modprobe tun/);
    const occupant = await UdpAgent.start(host, 7444);
    expectRefusal(await run([...args, '--port', '7444']), 1, /port 7444.*--port/);
    // Without a wish for a port another one will do, and the token is as good as new.
    const daemon = host.spawn([network.program, ...args]);
    await daemon.output(/^ready poor\.lab\.example/m);
    const status = JSON.parse((await run(['status', '--json', '--state', place('poor')])).stdout);
    expect(status.real).toEqual(['203.0.113.66:7445']);
    await daemon.stop();
    await occupant.stop();
  });

  it('of a network directory is refused', async () => {
    onTestFailed(() => console.error(lab.report()));
    const again = ['cloud', 'init', '--dir', network.directory, '--domain', 'lab.example', '--address', '192.0.2.1'];
    expectRefusal(await run(again), 1, /already exists/);
    expectRefusal(await run(['cloud', 'serve', '--dir', place('nothing')]), 2, /nothing.*cloud init/);
    expectRefusal(await run(['device', 'add', 'x', '--dir', place('nothing')]), 2, /nothing/);
    expectRefusal(await run(['device', 'show', 'x', '--dir', network.directory]), 1, /no device x/);
    expectRefusal(await run(['device', 'add', 'a', '--dir', network.directory]), 1, /a is already registered/);
    const second = ['cloud', 'serve', '--dir', network.directory];
    expectRefusal(await network.command(network.cloud, second), 1, /port 744/);
  });

  it('takes options from environment and file as well, and keeps secrets to itself', async () => {
    onTestFailed(() => console.error(lab.report()));
    const file = place('node.yaml');
    const token = (await network.addDevice('quiet')).trim();
    writeFileSync(file, `state: ${place('quiet')}\nport: 7555\ndns: none\nsuite: chacha20-poly1305\n`);
    const daemon = host.spawn([network.program, 'node', 'up', '--config', file, '--token', token], {
      env: { CYPHONIC_PORT: '7556' },
    });
    await daemon.output(/^ready quiet/m);
    const status = JSON.parse((await run(['status', '--json'], { env: { CYPHONIC_STATE: place('quiet') } })).stdout);
    // The environment goes before the file.
    expect(status).toMatchObject({ deviceId: 'quiet', suite: 'chacha20-poly1305', real: ['203.0.113.66:7556'] });
    expect(readFileSync(`/proc/${daemon.pid}/cmdline`, 'latin1')).not.toContain('cyp1_');
    expect(await host.run(['ps', '-o', 'args=', '-p', String(daemon.pid)])).not.toContain(token.slice(5, 20));
    expect(daemon.stdout + daemon.stderr).not.toContain(token);
    for (const directory of [place('quiet'), network.directory, a.state]) {
      expect(statSync(directory).mode & 0o777, directory).toBe(0o700);
      for (const name of readdirSync(directory)) {
        expect(statSync(join(directory, name)).mode & 0o077, name).toBe(0);
      }
    }
    await daemon.stop();
  });

  it('with a clock that certificates do not stand is told what is wrong', async () => {
    onTestFailed(() => console.error(lab.report()));
    const ahead = `data:text/javascript,const now=Date.now;Date.now=()=>now()+${30 * DAY_MS}`;
    const args = ['node', 'up', '--state', place('early'), '--token-file', await tokenFile('early')];
    expectRefusal(await run(args, { env: { NODE_OPTIONS: `--import "${ahead}"` } }), 2, /clock.*set the clock/);
  });
});

describeLab('a clock', () => {
  it('that the certificate of the AS does not stand is told', () =>
    inLab('clock', async (lab) => {
      const { network, outsider } = await smallNetwork(lab, []);
      await network.service.stop();
      const root = await makeTlsRoot('lab.example', Date.now() - 40 * 365 * DAY_MS);
      writeFileSync(join(network.directory, 'tls-root.pem'), root.certificate);
      writeFileSync(join(network.directory, 'tls-root.key'), root.privateKey);
      await network.restart();
      const token = secretFile(lab, 'token', await network.addDevice('late'));
      const args = ['node', 'up', '--state', join(lab.directory, 'late'), '--token-file', token];
      expectRefusal(await network.command(outsider, args), 2, /clock.*set the clock/);
    }));
});
