/** `cloud api-token`: who may use the controller. Works while it is served; it looks at its file at every request. */

import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { raise } from '../../lib/errors.ts';
import { openRegister } from '../../store/open.ts';
import type { Context } from '../context.ts';
import { makeToken, readTokens, type Scope, scopes, writeTokens } from '../controller/tokens.ts';
import { localAuthor } from '../local-administration.ts';
import { NETWORK_FILE, type NetworkFile, readNetworkFile } from '../network-files.ts';

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
    .action(async (name: string, { dir, scope }: { dir: string; scope: Scope }) => {
      if (!/^[a-z\d][a-z\d-]{0,62}$/.test(name)) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'use lower-case letters, digits and hyphens' });
      }
      const { file, network, tokens } = open(dir);
      if (tokens.some((each) => each.name === name)) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'there is such a token; remove it first' });
      }
      const { token, entry } = makeToken(name, scope);
      await note(network, 'grant', name);
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
    .action(async (name: string, { dir }: { dir: string }) => {
      const { file, network, tokens } = open(dir);
      const left = tokens.filter((each) => each.name !== name);
      if (left.length === tokens.length) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'there is no such token' });
      }
      await note(network, 'revoke', name);
      writeTokens(file, left);
    });
}

function open(dir: string) {
  const network = readNetworkFile(join(dir, NETWORK_FILE));
  const file = network.apiTokensFile;
  return { file, network, tokens: readTokens(file) };
}

/** Before it is done: nothing is done that nobody can look up. */
async function note({ registerFile, network }: NetworkFile, action: 'grant' | 'revoke', name: string): Promise<void> {
  const register = await openRegister(registerFile, network);
  try {
    await register.note(action, name, localAuthor());
  } finally {
    await register.close();
  }
}
