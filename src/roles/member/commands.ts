/** The commands that talk to a running daemon, a node's or an adapter's: status, ping, netcheck, down. */

import { type Command, InvalidArgumentError } from 'commander';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { stateHolder } from '../../sys/lock.ts';
import type { Context } from '../context.ts';
import { clearControl, requestControl } from './control-socket.ts';
import { restoreDns } from './dns-config.ts';
import { takeInterfaceDown } from './interface-setup.ts';
import { runNetcheck } from './netcheck.ts';
import { runPing } from './ping.ts';
import { printJson } from './print-json.ts';
import { printStatus } from './print-status.ts';
import type { Status } from './status.ts';
import { stateOption } from './up.ts';

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d{1,9}$/.test(text) || count < 1) throw new InvalidArgumentError('A count is a positive whole number.');
  return count;
}

/** Stops the daemon; after a crash, undoes what it left behind. */
async function down({ state }: { state: string }): Promise<void> {
  try {
    await requestControl(state, { method: 'down', params: null });
  } catch (error) {
    if (!(error instanceof CyphonicError && error.code === 'DAEMON_NOT_RUNNING')) throw error;
    const undone = await takeInterfaceDown(state);
    restoreDns(state);
    if ((stateHolder(state) === null && clearControl(state)) || undone) return;
    raise('DAEMON_ALREADY_DOWN', { directory: state }, error);
  }
  const deadline = performance.now() + DOWN_TIMEOUT_MS;
  while (stateHolder(state) !== null) {
    if (performance.now() > deadline) raise('SYS_DAEMON_STAYS', { directory: state, pid: stateHolder(state) });
    await new Promise((resolve) => setTimeout(resolve, DOWN_POLL_MS));
  }
}

const DOWN_TIMEOUT_MS = 10_000;
const DOWN_POLL_MS = 20;

export function contribute(program: Command, context: Context): void {
  program
    .command('status')
    .description('what the daemon of a state directory does')
    .addOption(stateOption())
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  cyphonic status --state /var/lib/cyphonic-node --json')
    .action(async ({ state, json }: { state: string; json?: boolean }) => {
      const status = (await requestControl(state, { method: 'status', params: null })) as Status;
      if (json) printJson(status, context);
      else printStatus(status, context);
    });

  program
    .command('ping')
    .description('round trip to a device inside the overlay, and by which path')
    .argument('<target>', 'name or virtual address')
    .addOption(stateOption())
    .option('-c, --count <n>', 'number of pings', parseCount, 4)
    .option('--until-direct', 'stop at the first reply that came by a direct path')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  cyphonic ping camera.lab.example --state /var/lib/cyphonic-node -c 1')
    .action((target: string, flags: { state: string; count: number; untilDirect?: boolean; json?: boolean }) =>
      runPing(target, flags, context),
    );

  program
    .command('netcheck')
    .description('what the network around the daemon lets through: UDP, families, kind of NAT, relays')
    .addOption(stateOption())
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExample:\n  cyphonic netcheck --state /var/lib/cyphonic-node --json')
    .action((flags: { state: string; json?: boolean }) => runNetcheck(flags, context));

  program
    .command('down')
    .description('stop the daemon and undo what it set up, also after it was killed')
    .addOption(stateOption())
    .addHelpText('after', '\nExample:\n  cyphonic down --state /var/lib/cyphonic-node')
    .action((flags: { state: string }) => down(flags));
}
