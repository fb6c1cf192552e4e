/** `cloud api-token`: who may use the controller. Works while it is served; it looks at its file at every request. */

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { raise } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { makeToken, readTokens, type Scope, scopes, writeTokens } from '../controller/tokens.ts';
import { NETWORK_FILE, readNetworkFile } from '../network-files.ts';

export function contributeTokens(cloud: Command, context: Context): void {
  const command = cloud.command('api-token').description('tokens for the controller');
  const sub = (name: string, example: string): Command =>
    command
      .command(name)
      .requiredOption('--dir <directory>', "the network's directory")
      .addHelpText('after', `\nExample:\n  cyphonic cloud api-token ${example} --dir /var/lib/cyphonic`);

  sub('add <NAME>', 'add monitoring --scope read')
    .description('print a new token; only its hash is kept')
    .addOption(new Option('--scope <scope>', 'what it may do').choices(scopes).default('read'))
    .action((name: string, { dir, scope }: { dir: string; scope: Scope }) => {
      if (!/^[a-z\d][a-z\d-]{0,62}$/.test(name)) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'use lower-case letters, digits and hyphens' });
      }
      const { file, tokens } = open(dir);
      if (tokens.some((each) => each.name === name)) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'there is such a token; remove it first' });
      }
      const { token, entry } = makeToken(name, scope);
      writeTokens(file, [...tokens, entry]);
      context.print(token);
    });

  sub('list', 'list')
    .description('names and scopes')
    .option('--json', 'print JSON')
    .action(({ dir, json }: { dir: string; json?: true }) => {
      const all = open(dir).tokens.map(({ name, scope }) => ({ name, scope }));
      if (json) context.print(JSON.stringify(all));
      else for (const { name, scope } of all) context.print(`${name} ${scope}`);
    });

  sub('remove <NAME>', 'remove monitoring')
    .description('make a token worthless at once')
    .action((name: string, { dir }: { dir: string }) => {
      const { file, tokens } = open(dir);
      const left = tokens.filter((each) => each.name !== name);
      if (left.length === tokens.length) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'there is no such token' });
      }
      writeTokens(file, left);
    });
}

function open(dir: string) {
  const file = readNetworkFile(join(dir, NETWORK_FILE)).apiTokensFile;
  return { file, tokens: readTokens(file) };
}
