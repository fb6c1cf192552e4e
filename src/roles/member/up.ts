/** What `node up` and `adapter up` are told alike. */

import { readFileSync, statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { InnerMtu, Port, REKEY_AFTER_MS, type Suite, suiteNames } from '../../proto/constants.ts';
import type { Context } from '../context.ts';
import { readMetricsOption } from '../telemetry.ts';
import type { DaemonOptions } from './daemon.ts';
import type { DnsMode } from './dns-config.ts';

const suites = Object.fromEntries(Object.entries(suiteNames).map(([value, name]) => [name, Number(value) as Suite]));

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65535) throw new InvalidArgumentError('A port is 1 to 65535.');
  return port;
}

function parseWorkers(text: string): number | 'auto' {
  if (text === 'auto') return text;
  const count = Number(text);
  if (!/^\d{1,2}$/.test(text) || count > MAX_WORKERS) {
    throw new InvalidArgumentError(`Workers are 0 to ${MAX_WORKERS}, or auto.`);
  }
  return count;
}

function parseMtu(text: string): number {
  const mtu = Number(text);
  if (!/^\d{4}$/.test(text) || mtu < InnerMtu.least || mtu > InnerMtu.most) {
    throw new InvalidArgumentError(`The MTU is ${InnerMtu.least} to ${InnerMtu.most}.`);
  }
  return mtu;
}

function parseRekeyAfter(text: string): number {
  const seconds = Number(text);
  if (!/^\d{1,3}$/.test(text) || seconds < 1 || seconds > REKEY_AFTER_S) {
    throw new InvalidArgumentError(`New keys come after 1 to ${REKEY_AFTER_S} seconds.`);
  }
  return seconds;
}

const REKEY_AFTER_S = REKEY_AFTER_MS / 1_000;
const MAX_WORKERS = 64;

export function stateOption(): Option {
  return new Option('--state <dir>', 'state directory of the daemon').makeOptionMandatory();
}

export type UpFlags = {
  state: string;
  token?: string;
  tokenFile?: string;
  passwordFile?: string;
  port?: number;
  dns: DnsMode;
  suite: string;
  workers: number | 'auto';
  dscp: 'copy' | 'clear';
  mtu: number;
  rekeyAfter: number;
  portPrediction: boolean;
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

export async function readUpFlags(flags: UpFlags, context: Context): Promise<DaemonOptions> {
  return {
    state: flags.state,
    environment: context.env,
    token: await readToken(flags, context),
    password: flags.passwordFile === undefined ? null : readPassword(flags.passwordFile),
    port: flags.port ?? Port.node,
    portIsDefault: flags.port === undefined,
    dns: flags.dns,
    suite: suites[flags.suite]!,
    workers: flags.workers,
    copyDscp: flags.dscp === 'copy',
    mtu: flags.mtu,
    rekeyAfterMs: 1_000 * flags.rekeyAfter,
    portPrediction: flags.portPrediction,
    verbose: flags.verbose === true,
    metrics: readMetricsOption(flags.metrics),
  };
}

export function addUpOptions(command: Command): Command {
  return command
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
    .addOption(
      new Option(
        '--mtu <octets>',
        'largest packet inside the tunnel; paths that carry less are found out, and used as they are',
      )
        .argParser(parseMtu)
        .default(InnerMtu.usual),
    )
    .addOption(
      new Option('--rekey-after <seconds>', 'new keys with a peer after so many seconds of use')
        .argParser(parseRekeyAfter)
        .default(REKEY_AFTER_S),
    )
    .option(
      '--no-port-prediction',
      'where the NATs of two devices keep them apart: stay with the relay, don’t try a thousand ports',
    )
    .option('--metrics <address:port>', 'serve metrics and health by HTTP there, for example 127.0.0.1:7453', 'off')
    .option('--config <file>', 'YAML file with these options')
    .option('--verbose', 'log every dropped datagram');
}
