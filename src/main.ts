/** argv → role: the only place that reads argv, environment and signals. */

import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { Command, CommanderError, type ErrorOptions, type Option, type ParseOptionsResult } from 'commander';
import { CyphonicError, raise } from './lib/errors.ts';
import type { Context, Contribution } from './roles/context.ts';
import { version } from './version.ts';

type Role = { readonly words: readonly string[]; readonly load: () => Promise<{ readonly contribute: Contribution }> };

/** Which role has the commands that begin with these words. Only that one is loaded: a start takes half the time. */
const roles: readonly Role[] = [
  { words: ['cloud', 'device'], load: () => import('./roles/cloud/commands.ts') },
  { words: ['as'], load: () => import('./roles/as/commands.ts') },
  { words: ['nms'], load: () => import('./roles/nms/commands.ts') },
  { words: ['trs'], load: () => import('./roles/trs/commands.ts') },
  { words: ['node'], load: () => import('./roles/node/commands.ts') },
  { words: ['adapter'], load: () => import('./roles/adapter/commands.ts') },
  { words: ['status', 'ping', 'netcheck', 'down'], load: () => import('./roles/member/commands.ts') },
];

/** Enrolment tokens, and URLs with a password. */
const secretArgument = /^--token|cyp1_|:\/\/[^/]*:[^/]*@/;

/** The one line of an error; anything that is not a CyphonicError is a fault of ours and shows where it was. */
function describe(error: unknown): string {
  if (error instanceof CyphonicError) return error.message.replaceAll(/\s*\n\s*/g, ' ');
  return `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

function variableOf(option: Option): string {
  return `CYPHONIC_${option.negate ? 'NO_' : ''}${option
    .attributeName()
    .replaceAll(/[A-Z]/g, (c) => `_${c}`)
    .toUpperCase()}`;
}

/** A command whose every option can be given as CYPHONIC_NAME as well; flags win. Its errors say where help is. */
class ProgramCommand extends Command {
  override createCommand(name?: string): Command {
    return new ProgramCommand(name);
  }

  override error(message: string, options?: ErrorOptions): never {
    const names: string[] = [];
    for (let command: Command | null = this; command !== null; command = command.parent) names.unshift(command.name());
    return super.error(`${message.replace(/\.$/, '')}; see \`${names.join(' ')} --help\``, options);
  }

  /** A word that is no option is worth more than one that is missing. */
  override parseOptions(argv: string[]): ParseOptionsResult {
    const parsed = super.parseOptions(argv);
    const { unknown } = parsed;
    const wantsHelp = unknown.some((word) => ['-h', '--help'].includes(word));
    const stranger = unknown.find((word) => word.startsWith('-'));
    if (this.commands.length > 0 || wantsHelp || stranger === undefined) return parsed;
    return this.error(`error: unknown option '${stranger}'`, { code: 'commander.unknownOption' });
  }

  override addOption(option: Option): this {
    return super.addOption(option.envVar === undefined ? option.env(variableOf(option)) : option);
  }
}

/** Values for the options of `command` from the YAML file named by --config, below flags and environment. */
async function readConfiguration(command: Command, file: string): Promise<void> {
  const { parse } = await import('yaml');
  let content: unknown;
  try {
    content = parse(readFileSync(file, 'utf8')) ?? {};
  } catch (cause) {
    raise('CONFIG_INVALID', { file, why: (cause as Error).message.split('\n')[0] }, cause);
  }
  if (typeof content !== 'object' || Array.isArray(content)) {
    raise('CONFIG_INVALID', { file, why: 'it is not a list of `option: value` lines' });
  }
  for (const [key, value] of Object.entries(content as Record<string, unknown>)) {
    const option = command.options.find((o) => o.name() === key || (!o.negate && o.attributeName() === key));
    if (option === undefined) {
      const known = command.options.map((o) => o.name()).filter((name) => name !== 'config');
      raise('CONFIG_INVALID', { file, why: `there is no option "${key}" (known: ${known.join(', ')})` });
    }
    command.setOptionValueWithSource(option.attributeName(), optionValue(option, value, file), 'config');
  }
}

/** The value of an option as its flag would have given it. */
function optionValue(option: Option, value: unknown, file: string): unknown {
  const values = option.variadic && Array.isArray(value) ? value : [value];
  const isFlag = option.isBoolean() || option.negate;
  const fits = values.every((one) => (isFlag ? typeof one === 'boolean' : isScalar(one)));
  if (!fits) raise('CONFIG_INVALID', { file, why: `option "${option.name()}" has a value of a wrong kind` });
  if (isFlag) return value !== option.negate;
  try {
    const parse = option.parseArg ?? ((text: string): unknown => (option.variadic ? [text] : text));
    return values.map(String).reduce<unknown>((former, text) => parse(text, former), undefined);
  } catch (cause) {
    return raise('CONFIG_INVALID', { file, why: `${option.name()} ${value}: ${(cause as Error).message}` }, cause);
  }
}

function isScalar(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number';
}

function configurationFile(argv: readonly string[], env: Context['env']): string | undefined {
  const at = argv.findIndex((word) => word === '--config' || word.startsWith('--config='));
  if (at < 0) return env.CYPHONIC_CONFIG;
  return argv[at] === '--config' ? argv[at + 1] : argv[at]?.slice('--config='.length);
}

async function buildProgram(context: Context, argv: readonly string[]): Promise<Command> {
  const program = new ProgramCommand('cyphonic')
    .description('Any two devices talk directly, securely and by name, wherever they are.')
    .version(version)
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'cyphonic: ')) });
  const named = roles.filter(({ words }) => words.includes(argv[0] ?? ''));
  for (const { load } of named.length > 0 ? named : roles) (await load()).contribute(program, context);
  configure(program, configurationFile(argv, context.env));
  return program;
}

/** Every command that takes --config reads the file before its flags. */
function configure(parent: Command, file: string | undefined): void {
  if (file === undefined) return;
  parent.hook('preSubcommand', async (_, command) => {
    const option = command.options.find((o) => o.name() === 'config');
    // A service's own configuration file (a mandatory option) is the service's to read.
    if (option !== undefined && !option.mandatory) await readConfiguration(command, file);
  });
  for (const command of parent.commands) configure(command, file);
}

async function main(argv: readonly string[]): Promise<number> {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve());
  });
  const context: Context = {
    version,
    env: process.env,
    colour: process.stdout.isTTY === true && !process.env.NO_COLOR,
    print: (line) => void process.stdout.write(`${line}\n`),
    complain: (line) => void process.stderr.write(`${line}\n`),
    readStdin: () => text(process.stdin),
    stopped,
  };
  // A secret given as an argument is for our eyes only: the title replaces the arguments in the process list.
  if (argv.some((word) => secretArgument.test(word))) {
    process.title = `cyphonic ${argv.slice(0, 2).join(' ')}`;
  }
  try {
    await (await buildProgram(context, argv)).parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    context.complain(`cyphonic: ${describe(error)}`);
    return error instanceof CyphonicError ? error.exitCode : 1;
  }
}

// A reader that goes away (`cyphonic status | head -1`) is no error of ours.
process.stdout.on('error', () => process.exit(0));
process.on('uncaughtException', (error) => {
  process.stderr.write(`cyphonic: ${describe(error)}\n`);
  process.exit(1);
});

const code = await main(process.argv.slice(2));
// A slow reader has not taken all of a long output yet: nothing else keeps it.
for (const stream of [process.stdout, process.stderr]) {
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}
// Daemons have stopped everything by the time `main` returns; what still keeps the loop alive must not keep the process.
process.exit(code);
