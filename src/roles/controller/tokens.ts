/**
 * API tokens. The file holds one line for each: name, scope, SHA-256 of the token. Tokens are 32 random octets, which no
 * slow hash makes harder to guess; only their hashes stay here.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { renameSync, statSync } from 'node:fs';
import { raise } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { readText, writeNewFile } from '../network-files.ts';

/** The file that `cloud init` leaves for the administrator, with the token itself. */
export const API_TOKEN_FILE = 'api-token';

/** `read`: everything but changes. */
export const scopes = ['admin', 'read'] as const;
export type Scope = (typeof scopes)[number];

export type ApiToken = { readonly name: string; readonly scope: Scope; readonly hash: Buffer };

const line = /^([a-z\d][a-z\d-]{0,62}) (admin|read) ([\da-f]{64})$/;

export function makeToken(name: string, scope: Scope): { token: string; entry: ApiToken } {
  const token = randomBytes(32).toString('base64url');
  return { token, entry: { name, scope, hash: hashOf(token) } };
}

export function formatTokens(tokens: readonly ApiToken[]): string {
  return tokens.map(({ name, scope, hash }) => `${name} ${scope} ${hash.toString('hex')}\n`).join('');
}

export function readTokens(file: string): ApiToken[] {
  const lines = readText(file).split('\n');
  return lines.flatMap((text, i) => {
    if (text.trim() === '' || text.startsWith('#')) return [];
    const [, name, scope, hash] = line.exec(text) ?? [];
    if (hash === undefined) return raise('CONFIG_INVALID', { file, why: `line ${i + 1} is no "name scope hash"` });
    return [{ name: name!, scope: scope as Scope, hash: Buffer.from(hash, 'hex') }];
  });
}

/** Replaces the file as a whole: whoever reads it sees the old tokens or the new ones. */
export function writeTokens(file: string, tokens: readonly ApiToken[]): void {
  const scratch = `${file}.${randomBytes(6).toString('hex')}`;
  writeNewFile(scratch, formatTokens(tokens));
  renameSync(scratch, file);
}

/** Compares with every token, in a time that does not tell how much of one was right. */
export function findToken(tokens: readonly ApiToken[], presented: string): ApiToken | null {
  const hash = hashOf(presented);
  let found: ApiToken | null = null;
  for (const token of tokens) if (timingSafeEqual(token.hash, hash)) found = token;
  return found;
}

/** The tokens of a file as it is now; those before while it is missing or damaged. */
export class TokenFile {
  readonly #file: string;
  readonly #log: Log;
  #tokens: ApiToken[];
  #version: string;

  constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
    this.#version = this.#look();
    this.#tokens = readTokens(file);
  }

  find(presented: string): ApiToken | null {
    const version = this.#look();
    if (version !== this.#version) {
      this.#version = version;
      try {
        this.#tokens = readTokens(this.#file);
      } catch (error) {
        this.#log.error('API tokens stay as they were', { why: (error as Error).message });
      }
    }
    return findToken(this.#tokens, presented);
  }

  #look(): string {
    const found = statSync(this.#file, { throwIfNoEntry: false, bigint: true });
    return found === undefined ? '' : `${found.ino} ${found.mtimeNs} ${found.size}`;
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
