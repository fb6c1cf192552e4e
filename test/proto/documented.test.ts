/** docs/protocol.md says what the tables say: the rows of its tables are derived from them. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as constants from '../../src/proto/constants.ts';
import { dropReasons } from '../../src/proto/drop.ts';
import type { Fields } from '../../src/proto/fields.ts';
import { messageTable, NoticeReason, ProcessCode } from '../../src/proto/messages.ts';
import { optionTable, Refusal, SenderKind } from '../../src/proto/options.ts';
import { messageNames, optionNames } from './arbitraries.ts';

const document = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const lines = document.split('\n');

const listed = (fields: Fields): string =>
  fields.map(([name, kind]) => (name === 'pad' ? kind : `${name} ${kind}`)).join(', ') || 'none';

describe('docs/protocol.md', () => {
  it.each(messageNames)('has the body of %s', (name) => {
    const { type, body } = messageTable[name];
    const row = lines.find((line) => line.startsWith(`| ${type} | \`${name}\` |`));
    expect(row, `| ${type} | \`${name}\` | … | ${listed(body)} |`).toContain(`| ${listed(body)} |`);
  });

  it.each(optionNames)('has the data of option %s', (name) => {
    const { type, data } = optionTable[name];
    const start = `| 0x${type.toString(16).padStart(2, '0')} | \`${name}\` | ${listed(data)} |`;
    expect(
      lines.some((line) => line.startsWith(start)),
      start,
    ).toBe(true);
  });

  it.each(dropReasons)('explains the drop reason %s', (reason) => {
    expect(lines.some((line) => line.startsWith(`| \`${reason}\` | `))).toBe(true);
  });

  it('explains no drop reason that there is not', () => {
    const section = document.slice(document.indexOf('## Drop reasons'));
    const explained = [...section.matchAll(/^\| `([a-z0-9-]+)` \|/gm)].map((match) => match[1]);
    expect(explained).toEqual([...dropReasons]);
  });

  it.each(Object.entries({ SenderKind, ProcessCode, NoticeReason, Refusal, Suite: constants.Suite }))(
    'has the values of %s',
    (_, values) => {
      for (const [name, value] of Object.entries(values)) expect(document).toContain(`${value} \`${name}\``);
    },
  );

  it.each([
    ['longest signalling datagram', constants.MAX_SIGNALLING],
    ['unfinished messages per sender', constants.PART_MESSAGES],
    ['their octets', constants.PART_OCTETS],
    ['lifetime in ms', constants.PART_LIFETIME_MS],
  ])('has the %s', (_, value) => {
    expect(document).toContain(value.toLocaleString('en'));
  });
});
