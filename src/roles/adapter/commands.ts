/** `adapter up` and `adapter ca`. */

import { X509Certificate } from 'node:crypto';
import { type Command, Option } from 'commander';
import { raise } from '../../lib/errors.ts';
import { type Capture, captures } from '../../sys/frame-port.ts';
import { requirePcap } from '../../sys/pcap.ts';
import type { Context } from '../context.ts';
import { addUpOptions, readUpFlags, type UpFlags } from '../member/up.ts';

type AdapterFlags = UpFlags & { inner: string; outer: string; capture: Capture; internet?: boolean };

export function contribute(program: Command, context: Context): void {
  const adapter = program.command('adapter').description('a gateway that brings devices into the overlay as they are');
  const up = adapter
    .command('up')
    .description('run the daemon: a node, and general nodes on its inner interface; stays in the foreground')
    .addOption(new Option('--inner <interface>', 'interface that the general nodes are on').makeOptionMandatory())
    .addOption(new Option('--outer <interface>', 'interface towards the Internet').makeOptionMandatory())
    .addOption(
      new Option('--capture <method>', 'how frames are taken from the inner interface: packet sockets, or libpcap')
        .choices(captures)
        .default('packet'),
    )
    .option('--internet', 'let general nodes reach the Internet too, behind this host’s address');
  addUpOptions(up)
    .addHelpText(
      'after',
      '\nExample:\n  cyphonic adapter up --inner eth1 --outer eth0 --state /var/lib/cyphonic-adapter --token-file token.txt',
    )
    .action(async (flags: AdapterFlags) => {
      const { inner, outer, capture } = flags;
      if (inner === outer) raise('USAGE_VALUE', { option: '--inner', value: inner, why: 'it is the outer interface' });
      if (capture === 'pcap') requirePcap();
      const [{ runMember }, { extensionOf }] = await Promise.all([
        import('../member/daemon.ts'),
        import('./extension.ts'),
      ]);
      const settings = { inner, outer, internet: flags.internet === true, capture };
      await runMember(await readUpFlags(flags, context), context, extensionOf(settings));
    });

  adapter
    .command('ca')
    .description('print the CA (PEM) by which devices that use 802.1X recognise this adapter')
    .requiredOption('--state <directory>', 'its state directory')
    .option('--json', 'print JSON, with the name that its certificate has')
    .addHelpText('after', '\nExample:\n  cyphonic adapter ca --state /var/lib/cyphonic-adapter >ca.pem')
    .action(async ({ state: directory, json }: { state: string; json?: true }) => {
      const [{ nodePrimitives }, { evpAead }, { loadState }] = await Promise.all([
        import('../../crypto/node.ts'),
        import('../../sys/evp.ts'),
        import('../member/state.ts'),
      ]);
      const { tlsRoot = null, session = null } = loadState(directory, nodePrimitives(evpAead)) ?? {};
      if (tlsRoot === null || session === null) return raise('CONFIG_NOT_ENROLLED', { directory });
      const certificate = new X509Certificate(tlsRoot).toString();
      context.print(json ? JSON.stringify({ name: session.fqdn, certificate }) : certificate.trimEnd());
    });
}
