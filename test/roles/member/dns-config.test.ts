import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DnsPlan } from '../../../src/roles/member/dns-config.ts';
import { parseServers } from '../../../src/roles/member/resolver-file.ts';
import { systemPath } from '../../../src/sys/tool.ts';
import { command, until } from '../../lab/toolkit/command.ts';
import type { Lab } from '../../lab/toolkit/lab.ts';
import type { Namespace } from '../../lab/toolkit/namespace.ts';
import { describeLab, inLab } from '../../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../../support/remote.ts';

const agent = modulePath('test/roles/member/dns-agent.ts');
const former = '# ours\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch corp.example\noptions rotate\n';

type Configured = { readonly applied: string; readonly warning: string | null; readonly upstreams: readonly object[] };

function plan(lab: Lab, more: Partial<DnsPlan> = {}): DnsPlan {
  return {
    mode: 'auto',
    stateDirectory: join(lab.directory, 'state'),
    interface: 'cyp0',
    server: { address: '100.80.0.2', port: 53 },
    domain: 'lab.example',
    reverseZones: ['80.100.in-addr.arpa'],
    ...more,
  };
}

/** A host with a resolver file of its own. */
function prepare(lab: Lab): Namespace {
  mkdirSync(join(lab.directory, 'state'));
  const host = lab.namespace('host');
  host.resolver(former);
  return host;
}

const resolverFile = (host: Namespace): string => host.sh('cat /etc/resolv.conf');

function watchdogs(host: Namespace): number[] {
  const processes = command(['ip', 'netns', 'pids', host.name]).split('\n').filter(Boolean).map(Number);
  return processes.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('cyphonic-dns-watchdog');
    } catch {
      return false;
    }
  });
}

/** A resolver file that belongs to everybody. */
function sharedFile(lab: Lab): string {
  const file = join(lab.directory, 'resolv.conf');
  writeFileSync(file, former);
  return file;
}

describeLab('name resolution by the resolver file', () => {
  it('names our server alone, our domain first, and keeps the options', () =>
    inLab('resolver file', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      expect(await daemon.call<Configured>('configure', plan(lab))).toEqual({
        applied: 'file',
        warning: null,
        upstreams: [
          { address: '192.0.2.53', port: 53 },
          { address: '2001:db8::53', port: 53 },
        ],
      });
      const [comment, ...lines] = resolverFile(host).split('\n');
      expect(comment).toMatch(/^# Made by cyphonic .* cyp0/);
      expect(lines).toEqual(['nameserver 100.80.0.2', 'search lab.example corp.example', 'options rotate', '']);
      await daemon.call('restore');
      expect(resolverFile(host)).toBe(former);
      expect(existsSync(join(lab.directory, 'state', 'resolver-file.json'))).toBe(false);
    }));

  it('is put back when the daemon is killed', () =>
    inLab('resolver file watchdog', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      await daemon.call('configure', plan(lab));
      process.kill(daemon.program.pid, 'SIGKILL');
      await until(() => resolverFile(host) === former, { what: 'the former resolver file' });
    }));

  it('is put back when the daemon just ends, which the watchdog does not hinder', () =>
    inLab('resolver file end', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      await daemon.call('configure', plan(lab));
      expect(await daemon.leave()).toMatchObject({ code: 0 });
      await until(() => resolverFile(host) === former, { what: 'the former resolver file' });
    }));

  it('is put back by `down` where the watchdog was killed as well', () =>
    inLab('resolver file down', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      await daemon.call('configure', plan(lab));
      for (const watchdog of watchdogs(host)) process.kill(watchdog, 'SIGKILL');
      await until(() => watchdogs(host).length === 0, { what: 'the end of the watchdog' });
      process.kill(daemon.program.pid, 'SIGKILL');
      await daemon.program.exited;
      expect(resolverFile(host)).not.toBe(former);
      await new Remote(host, agent).call('restoreDns', plan(lab).stateDirectory);
      expect(resolverFile(host)).toBe(former);
    }));

  it('is set up from the true former content after such a death, too', () =>
    inLab('resolver file again', async (lab) => {
      const host = prepare(lab);
      const first = new Remote(host, agent);
      await first.call('configure', plan(lab));
      const second = new Remote(host, agent);
      expect(await second.call<Configured>('configure', plan(lab))).toMatchObject({
        upstreams: [{ address: '192.0.2.53' }, { address: '2001:db8::53' }],
      });
      // The first one's watchdog must not take the successor's file away.
      const written = resolverFile(host);
      process.kill(first.program.pid, 'SIGKILL');
      await first.program.exited;
      await until(() => watchdogs(host).length === 1, { what: 'the end of the first watchdog' });
      expect(resolverFile(host)).toBe(written);
      await second.call('restore');
      expect(resolverFile(host)).toBe(former);
    }));

  it('is left alone once someone else has changed it', () =>
    inLab('resolver file changed', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      await daemon.call('configure', plan(lab));
      host.sh('echo "nameserver 198.51.100.53" >/etc/resolv.conf');
      await daemon.call('restore');
      expect(resolverFile(host)).toBe('nameserver 198.51.100.53\n');
    }));

  it('is not for other ports than 53', () =>
    inLab('resolver file port', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      const other = { server: { address: '100.80.0.2', port: 54 } };
      expect(await daemon.call<Configured>('configure', plan(lab, other))).toMatchObject({
        applied: 'none',
        warning: expect.stringMatching(/cannot name port 54.*100\.80\.0\.2:54$/),
        upstreams: [{ address: '192.0.2.53' }, { address: '2001:db8::53' }],
      });
      expect(resolverFile(host)).toBe(former);
      await expect(daemon.call('configure', plan(lab, { ...other, mode: 'file' }))).rejects.toMatchObject({
        code: 'SYS_DNS',
      });
    }));

  it('is not touched where other network namespaces see it', () =>
    inLab('resolver file shared', async (lab) => {
      const file = sharedFile(lab);
      const daemon = new Remote(prepare(lab), agent);
      expect(await daemon.call<Configured>('configure', plan(lab), { resolverFile: file })).toMatchObject({
        applied: 'none',
        warning: expect.stringContaining(`${file} belongs to other network namespaces`),
      });
      expect(readFileSync(file, 'utf8')).toBe(former);
      // Who asks for it by name gets it.
      const forced = plan(lab, { mode: 'file' });
      expect(await daemon.call<Configured>('configure', forced, { resolverFile: file })).toMatchObject({
        applied: 'file',
      });
      await daemon.call('restore');
      expect(readFileSync(file, 'utf8')).toBe(former);
    }));

  it('is not wanted with --dns none', () =>
    inLab('resolver file none', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      expect(await daemon.call<Configured>('configure', plan(lab, { mode: 'none' }))).toMatchObject({
        applied: 'none',
        warning: null,
      });
      expect(resolverFile(host)).toBe(former);
    }));
});

/** Programs that stand for systemd's: they write down how they were called. */
function fakeSystemd(lab: Lab, resolvedPid: string, resolvectl: string): { path: string; calls(): string[] } {
  const bin = join(lab.directory, 'bin');
  const log = join(lab.directory, 'calls');
  mkdirSync(bin);
  writeFileSync(log, '');
  writeFileSync(join(bin, 'busctl'), `#!/bin/sh\necho "u ${resolvedPid}"\n`);
  writeFileSync(join(bin, 'resolvectl'), `#!/bin/sh\necho "$*" >>${log}\n${resolvectl}\n`);
  for (const name of ['busctl', 'resolvectl']) chmodSync(join(bin, name), 0o755);
  return { path: `${bin}:${systemPath}`, calls: () => readFileSync(log, 'utf8').trim().split('\n') };
}

describeLab('name resolution by systemd-resolved', () => {
  it('hands it our zones on our link, and takes them back', () =>
    inLab('resolved', async (lab) => {
      const host = prepare(lab);
      const daemon = new Remote(host, agent);
      const systemd = fakeSystemd(lab, String(daemon.program.pid), '');
      const servers = join(lab.directory, 'servers');
      writeFileSync(servers, 'nameserver 192.0.2.99\n');
      const asHost = { path: systemd.path, resolvedServers: servers };
      expect(await daemon.call<Configured>('configure', plan(lab), asHost)).toEqual({
        applied: 'resolved',
        warning: null,
        upstreams: [{ address: '192.0.2.99', port: 53 }],
      });
      expect(systemd.calls()).toEqual([
        'dns cyp0 100.80.0.2',
        'domain cyp0 lab.example ~80.100.in-addr.arpa',
        'default-route cyp0 no',
        'dnssec cyp0 no',
        'dnsovertls cyp0 no',
        'llmnr cyp0 no',
        'mdns cyp0 no',
      ]);
      expect(resolverFile(host)).toBe(former);
      await daemon.call('restore');
      expect(systemd.calls().at(-1)).toBe('revert cyp0');
    }));

  it('names another port', () =>
    inLab('resolved port', async (lab) => {
      const daemon = new Remote(prepare(lab), agent);
      const { path, calls } = fakeSystemd(lab, String(daemon.program.pid), '');
      await daemon.call('configure', plan(lab, { server: { address: 'fd00:80::2', port: 54 } }), { path });
      expect(calls()[0]).toBe('dns cyp0 [fd00:80::2]:54');
    }));

  it('gives way to the file where resolved lives in another namespace or does not take the link', () =>
    inLab('resolved elsewhere', async (lab) => {
      const daemon = new Remote(prepare(lab), agent);
      const elsewhere = fakeSystemd(lab, '1', '');
      expect(await daemon.call<Configured>('configure', plan(lab), { path: elsewhere.path })).toMatchObject({
        applied: 'file',
      });
      expect(elsewhere.calls()).toEqual(['']);
      await daemon.call('restore');
    }));

  it('says why it cannot be', () =>
    inLab('resolved refusing', async (lab) => {
      const daemon = new Remote(prepare(lab), agent);
      const resolved = plan(lab, { mode: 'resolved' });
      await expect(daemon.call('configure', resolved, { path: '/nowhere' })).rejects.toThrow(/busctl is missing/);
      const { path } = fakeSystemd(lab, String(daemon.program.pid), 'echo "Link cyp0 not known" >&2; exit 1');
      await expect(daemon.call('configure', resolved, { path })).rejects.toThrow(
        /--dns resolved \(systemd-resolved refuses the interface cyp0: Link cyp0 not known\)/,
      );
    }));
});

describe('the servers in a resolver file', () => {
  it('are its name servers, whatever else it says', () => {
    const content = `; comment
nameserver 192.0.2.1 # first
 nameserver\t2001:DB8:0::1
nameserver fe80::1%eth0
#nameserver 192.0.2.9
nameserver
nameserver bogus
domain example.org`;
    expect(parseServers(content).map((server) => server.address)).toEqual(['192.0.2.1', '2001:db8::1', 'fe80::1%eth0']);
    expect(parseServers('')).toEqual([]);
  });
});
