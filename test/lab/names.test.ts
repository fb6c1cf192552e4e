/** The resolver as programs of the host meet it. */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import type { Network, Node } from './toolkit/network.ts';
import { type Small, smallNetwork } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

const serverFile = fileURLToPath(new URL('./toolkit/name-server.ts', import.meta.url));

type Reply = { readonly status: string; readonly answers: readonly string[]; readonly text: string };

describeLab('the resolver of a node', () => {
  let lab: Lab;
  let small: Small<'a' | 'b'>;
  let network: Network;
  let a: Node;
  let b: Node;

  beforeAll(async () => {
    lab = new Lab('names');
    small = await smallNetwork(lab, ['a', 'b']);
    network = small.network;
    ({ a, b } = small.nodes);
  });
  afterAll(() => lab?.close());

  /** dig on the host of a, by its resolver file unless told otherwise. */
  const dig = async (...args: string[]): Promise<Reply> => {
    const text = await a.host.run(['dig', '+tries=1', '+time=6', '+noedns', ...args]);
    const answers = /;; ANSWER SECTION:\n([^;]*?)\n\n/.exec(text)?.[1] ?? '';
    const records = answers.split('\n').filter(Boolean);
    return {
      status: /status: (\w+)/.exec(text)?.[1] ?? 'none',
      answers: records.map((line) => line.split(/\s+/).slice(3).join(' ')),
      text,
    };
  };

  it.each(['+notcp', '+tcp'])('tells names and addresses of the overlay, %s', async (transport) => {
    onTestFailed(() => console.error(lab.report()));
    const { vip4, vip6, resolver } = await b.status();
    expect(resolver).toBe(`${vip4}:53`);
    expect(await dig(transport, b.fqdn, 'A')).toMatchObject({ status: 'NOERROR', answers: [`A ${vip4}`] });
    expect(await dig(transport, b.fqdn, 'AAAA')).toMatchObject({ status: 'NOERROR', answers: [`AAAA ${vip6}`] });
    expect(await dig(transport, b.fqdn.toUpperCase(), 'A')).toMatchObject({ answers: [`A ${vip4}`] });
    for (const vip of [vip4, vip6]) {
      expect(await dig(transport, '-x', String(vip))).toMatchObject({ status: 'NOERROR', answers: [`PTR ${b.fqdn}.`] });
    }
    expect(await dig(transport, a.fqdn, 'A')).toMatchObject({ answers: [`A ${(await a.status()).vip4}`] });
    const apex = await dig(transport, network.domain, 'SOA');
    expect(apex.answers).toEqual([expect.stringMatching(/^SOA a\.lab\.example\. hostmaster\.lab\.example\. /)]);
    const nodata = await dig(transport, b.fqdn, 'MX');
    expect(nodata).toMatchObject({ status: 'NOERROR', answers: [] });
    expect(nodata.text).toMatch(/AUTHORITY SECTION:\n\S+\s+\d+\s+IN\s+SOA/);
    const unknown = await dig(transport, 'nobody.lab.example', 'A');
    expect(unknown.status).toBe('NXDOMAIN');
    expect(unknown.text).toMatch(/AUTHORITY SECTION:\n\S+\s+\d+\s+IN\s+SOA/);
    expect((await dig(transport, '-x', '100.80.255.254')).status).toBe('NXDOMAIN');
  });

  it('says SERVFAIL for a device that is there but silent, before a stub asks again', async () => {
    onTestFailed(() => console.error(lab.report()));
    const silent = await network.addNode(small.outsider, 'silent');
    process.kill(silent.daemon.pid, 'SIGSTOP');
    const reply = await dig(silent.fqdn, 'A');
    expect(reply.status).toBe('SERVFAIL');
    expect(Number(/Query time: (\d+) msec/.exec(reply.text)?.[1])).toBeLessThan(5_000);
    // Others are answered meanwhile.
    const [held, quick] = await Promise.all([dig(silent.fqdn, 'AAAA'), dig(b.fqdn, 'A')]);
    expect(held.status).toBe('SERVFAIL');
    expect(quick.status).toBe('NOERROR');
    process.kill(silent.daemon.pid, 'SIGCONT');
    await until(() => succeeds(a.systemPing(silent.fqdn, ['-W', '2'])), { what: 'it to be heard again' });
    await silent.daemon.stop();
  });

  it('forwards other names to the former servers, but no answer that leads into the overlay', async () => {
    onTestFailed(() => console.error(lab.report()));
    const server = small.outsider.spawn([
      process.execPath,
      serverFile,
      '203.0.113.66',
      String((await b.status()).vip4),
    ]);
    await server.output(/^ready$/m);
    await a.daemon.stop();
    a.host.resolver('nameserver 203.0.113.66\nsearch example.net\noptions timeout:3\n');
    await a.up();
    for (const transport of ['+notcp', '+tcp']) {
      expect(await dig(transport, 'www.example.net', 'A')).toMatchObject({
        status: 'NOERROR',
        answers: ['A 192.0.2.80'],
      });
      expect(await dig(transport, 'none.example.net', 'A')).toMatchObject({ status: 'NXDOMAIN' });
      expect(await dig(transport, 'rebind.example.net', 'A')).toMatchObject({ status: 'SERVFAIL', answers: [] });
      expect(await dig(transport, b.fqdn, 'A')).toMatchObject({ status: 'NOERROR' });
    }
    // The C library: our domain first, then the former ones.
    expect(await a.host.run(['getent', 'ahostsv4', 'www'])).toMatch(/^192\.0\.2\.80/);
    expect(await a.host.run(['getent', 'ahostsv4', 'b'])).toContain(String((await b.status()).vip4));
    expect(server.stdout).not.toContain('lab.example');
    // A DNS64 among them shows that there is a NAT64 (RFC 7050).
    const nat64 = async (node: Node) => JSON.parse((await node.command(['netcheck', '--json'])).stdout).nat64Prefix;
    expect(await Promise.all([nat64(a), nat64(b)])).toEqual(['64:ff9b::/96', null]);
    await server.stop();
    expect((await dig('www.example.net', 'A')).status).toBe('SERVFAIL');
    await a.daemon.stop();
    expect(a.host.sh('cat /etc/resolv.conf')).toBe('nameserver 203.0.113.66\nsearch example.net\noptions timeout:3\n');
    await a.up();
  });

  it('answers nobody but its own host', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { vip4 } = await a.status();
    await b.systemPing(a.fqdn);
    const foreign = b.host.spawn(['dig', '+tries=1', '+time=1', `@${vip4}`, a.fqdn], { input: '' });
    await foreign.ended();
    expect(foreign.stdout).toMatch(/no servers could be reached|timed out/);
  });
});
