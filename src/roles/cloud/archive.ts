/**
 * Backups: one tar file (POSIX ustar) with a network's directory, the register as a consistent copy, and the SHA-256 of
 * every file, so that a damaged or cut-off backup is recognised before anything is restored from it.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { concat } from '../../lib/bytes.ts';
import { raise } from '../../lib/errors.ts';
import { isPostgresUrl } from '../../store/open.ts';
import { copySqlite } from '../../store/sqlite.ts';
import { makeNewDirectory, NETWORK_FILE, type NetworkFile, writeNewFile } from '../network-files.ts';

type Entry = { readonly name: string; readonly content: Uint8Array };

const BLOCK = 512;
const SUMS = 'SHA256SUMS';
/** Names we put into backups: one directory, nothing hidden. */
const namePattern = /^[\w][\w.-]{0,98}$/;

/** Offsets and lengths in a tar header (POSIX.1-2017, pax, "ustar Interchange Format"). */
const header = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 8],
} as const;

export function backup(directory: string, file: NetworkFile, target: string): void {
  if (isPostgresUrl(file.registerFile)) raise('CONFIG_BACKUP', { directory });
  const register = basename(file.registerFile);
  const scratch = mkdtempSync(join(directory, '.backup-'));
  try {
    copySqlite(file.registerFile, join(scratch, register));
    const entries = readdirSync(directory)
      .filter(
        (name) => namePattern.test(name) && !name.startsWith(register) && statSync(join(directory, name)).isFile(),
      )
      .map((name) => ({ name, content: readFileSync(join(directory, name)) }));
    entries.push({ name: register, content: readFileSync(join(scratch, register)) });
    writeNewFile(target, pack([...entries, { name: SUMS, content: Buffer.from(sumsOf(entries)) }]));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Makes `directory` from a backup: all of it or nothing. An empty directory may be there. */
export function restore(directory: string, source: string): void {
  const entries = unpack(source);
  const target = resolve(directory);
  const scratch = join(dirname(target), `.${basename(target)}.restoring`);
  if (existsSync(target) && !(statSync(target).isDirectory() && readdirSync(target).length === 0)) {
    raise('SYS_NOT_EMPTY', { path: directory });
  }
  makeNewDirectory(scratch);
  try {
    for (const { name, content } of entries) writeNewFile(join(scratch, name), content);
    if (existsSync(target)) rmdirSync(target);
    renameSync(scratch, target);
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    throw error;
  }
}

function sumsOf(entries: readonly Entry[]): string {
  const sum = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');
  return entries.map(({ name, content }) => `${sum(content)}  ${name}\n`).join('');
}

function pack(entries: readonly Entry[]): Uint8Array {
  const blocks = entries.flatMap(({ name, content }) => [
    headerOf(name, content.length),
    content,
    new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK),
  ]);
  return concat(...blocks, new Uint8Array(2 * BLOCK));
}

function headerOf(name: string, size: number): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  const put = ([at, length]: readonly [number, number], text: string) => block.write(text, at, length, 'latin1');
  const octal = (value: number, length: number) => value.toString(8).padStart(length - 1, '0');
  put(header.name, name);
  put(header.mode, octal(0o600, 8));
  put(header.uid, octal(0, 8));
  put(header.gid, octal(0, 8));
  put(header.size, octal(size, 12));
  put(header.mtime, octal(Math.floor(Date.now() / 1000), 12));
  put(header.type, '0');
  put(header.magic, 'ustar\x0000');
  put(header.checksum, `${octal(checksumOf(block), 7)}\0 `);
  return block;
}

/** The sum of a header's octets, those of the sum itself counted as spaces. */
function checksumOf(block: Uint8Array): number {
  const [at, length] = header.checksum;
  return block.reduce((sum, octet, i) => sum + (i >= at && i < at + length ? 0x20 : octet), 0);
}

function unpack(file: string): Entry[] {
  const damaged = (why: string): never => raise('SYS_ARCHIVE', { file, why });
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    return raise('CONFIG_UNREADABLE', { file, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
  const entries: Entry[] = [];
  for (let at = 0; ; ) {
    const block = bytes.subarray(at, at + BLOCK);
    if (block.length < BLOCK) return damaged('its end is missing');
    if (block.every((octet) => octet === 0)) break;
    const field = ([start, length]: readonly [number, number]) =>
      block
        .toString('latin1', start, start + length)
        .replace(/\0.*$/s, '')
        .trim();
    const name = field(header.name);
    const size = Number.parseInt(field(header.size), 8);
    const valid = Number.parseInt(field(header.checksum), 8) === checksumOf(block) && field(header.type) === '0';
    if (!valid || !namePattern.test(name) || !(at + BLOCK + size <= bytes.length))
      return damaged('it is damaged or no backup');
    entries.push({ name, content: bytes.subarray(at + BLOCK, at + BLOCK + size) });
    at += BLOCK * (1 + Math.ceil(size / BLOCK));
  }
  const sums = entries.pop();
  if (sums?.name !== SUMS || Buffer.from(sums.content).toString() !== sumsOf(entries))
    return damaged('its checksums are wrong');
  if (!entries.some(({ name }) => name === NETWORK_FILE)) return damaged(`it holds no ${NETWORK_FILE}`);
  return entries;
}
