/** `node up`, and the commands that talk to a running daemon: status, ping, down. */

import { readFileSync, statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { Port, type Suite, suiteNames } from '../../proto/constants.ts';
import { stateHolder } from '../../sys/lock.ts';
import type { Context } from '../context.ts';
import { readMetricsOption } from '../telemetry.ts';
import { clearControl, requestControl } from './control-socket.ts';
import { type DnsMode, restoreDns } from './dns-config.ts';
import { takeInterfaceDown } from './interface-setup.ts';
import { runNetcheck } from './netcheck.ts';
import { runPing } from './ping.ts';
import { printJson } from './print-json.ts';
import { printStatus } from './print-status.ts';
import type { Status } from './status.ts';

const suites = Object.fromEntries(Object.entries(suiteNames).map(([value, name]) => [name, Number(value) as Suite]));

export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65535) throw new InvalidArgumentError('A port is 1 to 65535.');
  return port;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d{1,9}$/.test(text) || count < 1) throw new InvalidArgumentError('A count is a positive whole number.');
  return count;
}

function parseWorkers(text: string): number | 'auto' {
  if (text === 'auto') return text;
  const count = Number(text);
  if (!/^\d{1,2}$/.test(text) || count > MAX_WORKERS) {
    throw new InvalidArgumentError(`Workers are 0 to ${MAX_WORKERS}, or auto.`);
  }
  return count;
}

const MAX_WORKERS = 64;

function stateOption(): Option {
  return new Option('--state <dir>', 'state directory of the daemon').makeOptionMandatory();
}

type UpFlags = {
  state: string;
  token?: string;
  tokenFile?: string;
  passwordFile?: string;
  port?: number;
  dns: DnsMode;
  suite: string;
  workers: number | 'auto';
  dscp: 'copy' | 'clear';
  verbose?: boolean;
  metrics: string;
};

async function readToken(flags: UpFlags, context: Context): Promise<string | null> {
  if (flags.token !== undefined) return flags.token;
  if (flags.tokenFile === undefined) return null;
  return flags.tokenFile === '-' ? context.readStdin() : readSecretFile(flags.tokenFile).toString('utf8');
}

function readSecretFile(file: string): Buffer {
  try {
    if (statSync(file).size > 65536) raise('CONFIG_INVALID', { file, why: 'too large for a secret' });
    return readFileSync(file);
  } catch (cause) {
    if (cause instanceof CyphonicError) throw cause;
    return raise('CONFIG_INVALID', { file, why: `cannot be read (${(cause as NodeJS.ErrnoException).code})` }, cause);
  }
}

/** A password is the file's first line. */
function readPassword(file: string): Uint8Array {
  const content = readSecretFile(file);
  const end = content.indexOf('\n');
  return Uint8Array.from(end < 0 ? content : content.subarray(0, end));
}

async function up(flags: UpFlags, context: Context): Promise<void> {
  // The daemon's modules take longer to load than `status` takes to run.
  const { runNode } = await import('./daemon.ts');
  await runNode(
    {
      state: flags.state,
      token: await readToken(flags, context),
      password: flags.passwordFile === undefined ? null : readPassword(flags.passwordFile),
      port: flags.port ?? Port.node,
      portIsDefault: flags.port === undefined,
      dns: flags.dns,
      suite: suites[flags.suite]!,
      workers: flags.workers,
      copyDscp: flags.dscp === 'copy',
      verbose: flags.verbose === true,
      metrics: readMetricsOption(flags.metrics),
    },
    context,
  );
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
  const node = program.command('node').description('a device of the overlay');
  node
    .command('up')
    .description('run the daemon: TUN interface, name resolver and tunnels; stays in the foreground')
    .addOption(stateOption())
    .option('--token-file <file>', 'file with the enrolment token, - = standard input (first time only)')
    .option('--token <token>', 'the enrolment token itself; rather use --token-file')
    .option('--password-file <file>', 'file with the password of the first login, for a device added with one')
    .option('--port <port>', `UDP port; default ${Port.node}, or the next free one`, parsePort)
    .addOption(
      new Option(
        '--dns <mode>',
        'how this host learns of the resolver; auto: systemd-resolved, else the resolver file, else none',
      )
        .choices(['auto', 'resolved', 'file', 'none'])
        .default('auto'),
    )
    .addOption(
      new Option('--suite <suite>', 'cipher suite; cbc-md5 is the thesis’s own, broken, for experiments')
        .choices(Object.values(suiteNames))
        .default('aes-256-gcm'),
    )
    .addOption(
      new Option(
        '--workers <number>',
        'threads that encrypt beside the two that read and write, or `auto`: as measured',
      )
        .argParser(parseWorkers)
        .default(0),
    )
    .addOption(
      new Option('--dscp <mode>', 'DSCP of outer headers: copy that of the packets inside, or none')
        .choices(['copy', 'clear'])
        .default('clear'),
    )
    .option('--metrics <address:port>', 'serve metrics and health by HTTP there, for example 127.0.0.1:7453', 'off')
    .option('--config <file>', 'YAML file with these options')
    .option('--verbose', 'log every dropped datagram')
    .addHelpText('after', '\nExample:\n  cyphonic node up --state /var/lib/cyphonic-node --token-file token.txt')
    .action((flags: UpFlags) => up(flags, context));

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
