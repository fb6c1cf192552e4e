/** `cloud migrate`: from the register in a file to one on a database server, without its devices noticing. */

import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { raise } from '../../lib/errors.ts';
import { isPostgresUrl } from '../../store/open.ts';
import { describePostgres } from '../../store/postgres.ts';
import { fillPostgres, type RoleUrls, updatePostgres } from '../../store/postgres-setup.ts';
import { readSqlite } from '../../store/sqlite.ts';
import { NETWORK_FILE, type NetworkFile, readText, writeNewFile } from '../network-files.ts';

/** Returns what to tell the administrator. */
export async function migrate(directory: string, file: NetworkFile, to: string): Promise<string[]> {
  if (!isPostgresUrl(to) || !/^\/[^/]+$/.test(URL.parse(to)?.pathname ?? '')) {
    raise('USAGE_VALUE', {
      option: '--to',
      value: '(given)',
      why: 'use one like postgres://owner@db.example/cyphonic',
    });
  }
  if (isPostgresUrl(file.registerFile)) {
    if (describePostgres(file.registerFile) !== describePostgres(to)) {
      raise('CONFIG_DATABASE', { url: describePostgres(to), why: 'the register is in another database already' });
    }
    const { before, after } = await updatePostgres(to, file.caPublicKey);
    return [`The schema of the register is of version ${after}${before === after ? ' as before' : `, was ${before}`}.`];
  }
  const content = readSqlite(file.registerFile);
  const urls = await fillPostgres(
    to,
    content,
    file.caPublicKey,
    () => readSqlite(file.registerFile).revision === content.revision,
  );
  const changed = pointTo(directory, urls);
  return [
    `The register with ${content.devices.length} devices is in ${describePostgres(to)}; ${changed.join(', ')} say so.`,
    `Start the services again; ${file.registerFile} is not used any more.`,
  ];
}

/** Lets every configuration of the directory name the register by the database role of its own service. */
function pointTo(directory: string, urls: RoleUrls): string[] {
  const configurations = readdirSync(directory).filter((name) => name.endsWith('.yaml'));
  // The network's own last: until then the whole network is where it was.
  configurations.sort((a, b) => Number(a === NETWORK_FILE) - Number(b === NETWORK_FILE));
  return configurations.filter((name) => {
    const path = join(directory, name);
    const text = readText(path);
    const { role = 'as' } = parse(text) as { role?: unknown };
    const url = role === 'as' || role === 'nms' || role === 'trs' ? urls[role] : undefined;
    if (url === undefined || !/^register: /m.test(text)) return false;
    const scratch = `${path}.${randomBytes(6).toString('hex')}`;
    writeNewFile(
      scratch,
      text.replace(/^register: .*$/m, () => `register: ${url}`),
    );
    renameSync(scratch, path);
    return true;
  });
}
