/** Devices that the administrator disables, removes and enrols anew, and secrets that open nothing. */

import { readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { decodeToken, encodeToken } from '../../src/crypto/token.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import { type Ended, Node } from './toolkit/network.ts';
import { expectRefusal, Pinger, type Small, secretFile, smallNetwork, spokenLines } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

/** Longest time from the administrator's word to the end of the tunnels (protocol section 2.4, interface). */
const TUNNELS_END = { timeoutMs: 10_000, intervalMs: 100 };

describeLab('a device that is no longer wanted', () => {
  let lab: Lab;
  let small: Small<'a' | 'b' | 'c'>;

  beforeAll(async () => {
    lab = new Lab('revocation');
    small = await smallNetwork(lab, ['a', 'b', 'c']);
  });
  afterAll(() => lab?.close());

  const tunnelGone = (from: Node, to: Node) =>
    until(
      async () => {
        const peer = await from.peer(to);
        return peer === undefined || (peer.state !== 'up' && peer.path === null);
      },
      { what: `the tunnel from ${from.deviceId} to ${to.deviceId} to end`, ...TUNNELS_END },
    );

  /** The daemon of a refused device ended by itself, with one line and nothing left of its interface. */
  const expectRefused = async (node: Node) => {
    expect(await node.daemon.ended(10_000)).toEqual({ code: 4, signal: null });
    const lines = spokenLines(node.daemon.stderr);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/disabled or removed/);
    expect(node.host.sh('ip -o link; nft list tables')).not.toMatch(/ cyp\d|table/);
    expect(await node.command(['status'])).toMatchObject({ code: 3, stdout: '' });
  };

  const resolves = (from: Node, to: Node) => from.host.run(['dig', '+tries=1', '+time=5', to.fqdn]);

  it('loses its tunnels within 10 s on both ends when it is disabled; the others go on; enabled, it is back', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { network, nodes } = small;
    const { a, b, c } = nodes;
    await Promise.all([a.systemPing(b.fqdn), a.systemPing(c.fqdn), b.systemPing(c.fqdn)]);
    const toB = new Pinger(a.host, String((await b.status()).vip4));
    const toC = new Pinger(a.host, String((await c.status()).vip4));
    await until(() => toB.answered.length > 2 && toC.answered.length > 2, { what: 'pings' });

    await network.device('disable', 'b');
    await Promise.all([tunnelGone(a, b), tunnelGone(c, b), expectRefused(b)]);
    const before = toB.answered.length;
    const whole = toC.answered.length;
    await until(() => toC.answered.length > whole + 10, { what: 'more pings to c' });
    expect(toB.answered.length).toBe(before);
    expect(await resolves(a, b)).toContain('NXDOMAIN');

    b.start();
    const ended: Ended = { ...(await b.daemon.ended(20_000)), stdout: b.daemon.stdout, stderr: b.daemon.stderr };
    expectRefusal(ended, 4, /disabled/);

    await network.device('enable', 'b');
    await b.up();
    await a.systemPing(b.fqdn);
    await b.systemPing(c.fqdn);
    // The pings that never stopped found their way again by themselves.
    await until(() => toB.answered.length > before, { what: 'the old pings to b' });
    await toB.stop();
    const { sent, received } = await toC.stop();
    expect(sent - received).toBe(0);
  });

  it('is unknown once it was removed, and cannot come back', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { network, nodes } = small;
    const { a, b, c } = nodes;
    await Promise.all([a.systemPing(c.fqdn), b.systemPing(c.fqdn)]);
    await network.device('remove', 'c');
    await Promise.all([tunnelGone(a, c), tunnelGone(b, c), expectRefused(c)]);
    expect(await resolves(a, c)).toContain('NXDOMAIN');
    await a.systemPing(b.fqdn);
    c.start();
    const ended: Ended = { ...(await c.daemon.ended(20_000)), stdout: c.daemon.stdout, stderr: c.daemon.stderr };
    expectRefusal(ended, 4, /device c/);
  });

  it('cannot enrol with a spent token, a wrong secret, a wrong password or an unknown name', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { network, outsider } = small;
    const up = (title: string, token: string, flags: readonly string[] = []) => {
      const file = secretFile(lab, `${title}.token`, token);
      const state = join(lab.directory, `outsider-${title}`);
      return network.command(outsider, ['node', 'up', '--state', state, '--token-file', file, ...flags]);
    };
    const token = await network.addDevice('once');
    const first = new Node(network, outsider, 'once', token);
    await first.up();
    await first.daemon.stop();
    expectRefusal(await up('twice', token), 4, /once.*token/);

    const fresh = decodeToken(await network.addDevice('fresh'));
    if (fresh === null) throw new Error('device add printed no token');
    const guessed = fresh.secret === null ? null : fresh.secret.map((octet) => octet ^ 1);
    expectRefusal(await up('guess', encodeToken({ ...fresh, secret: guessed })), 4, /fresh/);
    expectRefusal(await up('nobody', encodeToken({ ...fresh, deviceId: 'nobody' })), 4, /nobody/);

    const right = secretFile(lab, 'right', 'correct horse\n');
    const wrong = secretFile(lab, 'wrong', 'battery staple\n');
    const invitation = await network.addDevice('worded', ['--password-file', right]);
    expectRefusal(await up('worded', invitation, ['--password-file', wrong]), 4, /worded/);
    const worded = new Node(network, outsider, 'worded', invitation);
    await worded.up(['--password-file', right]);
    await worded.daemon.stop();
  });

  it('is enrolled anew by a new token, after it lost its state and also with it', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { network, nodes } = small;
    const { a, b } = nodes;
    const { nodeId, vip4, vip6 } = await b.status();
    await b.daemon.stop();
    const former = `${b.state}-former`;
    renameSync(b.state, former);
    const lost = new Node(network, b.host, 'b', (await network.device('token', 'b')).trim());
    await lost.up();
    expect(await lost.status()).toMatchObject({ nodeId, vip4, vip6 });
    await a.systemPing(b.fqdn);
    await lost.daemon.stop();
    // The keys of the former state are nobody's now, until a new token pins them again.
    rmSync(b.state, { recursive: true });
    renameSync(former, b.state);
    const file = secretFile(lab, 'b.token', await network.device('token', 'b'));
    expectRefusal(await network.command(b.host, ['node', 'up', '--state', b.state]), 4, /device b/);
    const again = new Node(network, b.host, 'b', readFileSync(file, 'utf8').trim());
    await again.up();
    await a.systemPing(b.fqdn);
  });
});
