/** `node up`. */

import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { addUpOptions, readUpFlags, type UpFlags } from '../member/up.ts';

export function contribute(program: Command, context: Context): void {
  const node = program.command('node').description('a device of the overlay');
  const up = node
    .command('up')
    .description('run the daemon: TUN interface, name resolver and tunnels; stays in the foreground');
  addUpOptions(up)
    .addHelpText('after', '\nExample:\n  cyphonic node up --state /var/lib/cyphonic-node --token-file token.txt')
    .action(async (flags: UpFlags) => {
      // The daemon's modules take longer to load than `status` takes to run.
      const { runMember } = await import('../member/daemon.ts');
      await runMember(await readUpFlags(flags, context), context);
    });
}
