import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Log } from '../../../src/lib/log.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { findToken, makeToken, readTokens, TokenFile, writeTokens } from '../../../src/roles/controller/tokens.ts';

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-tokens-'));
  file = join(directory, 'api-tokens');
});
afterEach(() => rmSync(directory, { recursive: true }));

it('are kept as hashes, for this user only, and found again', () => {
  const [ops, watch] = [makeToken('ops', 'admin'), makeToken('watch', 'read')];
  writeTokens(file, [ops.entry, watch.entry]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const tokens = readTokens(file);
  expect(findToken(tokens, ops.token)).toMatchObject({ name: 'ops', scope: 'admin' });
  expect(findToken(tokens, watch.token)).toMatchObject({ name: 'watch', scope: 'read' });
  for (const wrong of ['', ops.token.slice(1), `${ops.token} `, ops.entry.hash.toString('hex'), 'x'.repeat(100_000)]) {
    expect(findToken(tokens, wrong)).toBeNull();
  }
});

it.each(['ops admin', 'ops owner '.padEnd(74, 'a'), 'Ops admin '.padEnd(74, 'a'), 'ops admin zz'])(
  'a damaged line is refused: %s',
  (text) => {
    writeFileSync(file, `# a comment\n\n${text}\n`);
    expect(() => readTokens(file)).toThrow(/line 3 is no "name scope hash"/);
  },
);

it('are read again when the file changes; a damaged one changes nothing', () => {
  const [a, b] = [makeToken('a', 'read'), makeToken('b', 'read')];
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (message) => errors.push(message) };
  writeTokens(file, [a.entry]);
  const tokens = new TokenFile(file, log);
  expect(tokens.find(a.token)?.name).toBe('a');
  writeTokens(file, [b.entry]);
  expect(tokens.find(a.token)).toBeNull();
  expect(tokens.find(b.token)?.name).toBe('b');
  writeFileSync(file, 'damaged\n');
  expect(tokens.find(b.token)?.name).toBe('b');
  rmSync(file);
  expect(tokens.find(b.token)?.name).toBe('b');
  expect(errors).toHaveLength(2);
  writeTokens(file, [a.entry]);
  expect(tokens.find(b.token)).toBeNull();
});
