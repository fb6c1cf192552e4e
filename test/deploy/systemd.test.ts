/** The systemd units, as systemd itself reads them. */

import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const units = globSync(join(import.meta.dirname, '../../deploy/systemd/*.service')).sort();
const textOf = (unit: string): string => readFileSync(unit, 'utf8');
const missing = spawnSync('systemd-analyze', ['--version']).status !== 0;
if (missing) console.warn('systemd-analyze is missing: the units are read but not verified (package systemd)');

let directory: string;
/** The units with a program that is there, templates as an instance. */
const copies = new Map<string, string>();

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-units-'));
  for (const unit of units) {
    const copy = join(directory, basename(unit).replace('@.', '@nms-2.'));
    writeFileSync(copy, textOf(unit).replaceAll('/usr/local/bin/cyphonic', '/bin/true'));
    copies.set(unit, copy);
  }
});
afterAll(() => rmSync(directory, { recursive: true }));

function analyze(...words: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', words, { encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
}

it('there is a unit for every role', () => {
  const roles = units.map((unit) => /^cyphonic-(\w+)@?\.service$/.exec(basename(unit))?.[1]);
  expect(roles).toEqual(['adapter', 'as', 'cloud', 'nms', 'node', 'trs']);
});

describe.each(units.map((unit) => [basename(unit), unit]))('%s', (_, unit) => {
  it.skipIf(missing)('is accepted without a word', () => {
    expect(analyze('verify', '--man=no', copies.get(unit)!)).toEqual({ status: 0, output: '' });
  });

  it.skipIf(missing)('exposes little: of 10 at most 3.0 on a device, 2.0 with a port below 1024, 1.5 elsewhere', () => {
    const threshold = /cyphonic-(node|adapter)/.test(unit) ? '30' : /cyphonic-(cloud|trs)/.test(unit) ? '20' : '15';
    const { status, output } = analyze('security', '--offline=true', `--threshold=${threshold}`, copies.get(unit)!);
    expect([status, output.split('\n').filter((line) => line.includes('Overall'))]).toEqual([0, expect.anything()]);
  });

  it('waits for the ready message and does not insist on what the network refused', () => {
    expect(textOf(unit)).toMatch(/^Type=notify$/m);
    expect(textOf(unit)).toMatch(/^RestartPreventExitStatus=2 4$/m);
    expect(textOf(unit)).toMatch(/^NoNewPrivileges=yes$/m);
  });

  it('runs a command of its own role', () => {
    const role = /cyphonic-(\w+)/.exec(basename(unit))![1];
    const verb = role === 'node' || role === 'adapter' ? 'up' : 'serve';
    expect(textOf(unit)).toMatch(new RegExp(`^ExecStart=/usr/local/bin/cyphonic ${role} ${verb}\\b`, 'm'));
  });
});

it.skipIf(missing)('a unit with an error is not accepted', () => {
  const wrong = join(directory, 'wrong.service');
  writeFileSync(wrong, '[Service]\nExecStart=/bin/true\nProtectSystm=strict\n');
  expect(analyze('verify', '--man=no', wrong).output).toContain('ProtectSystm');
  expect(analyze('security', '--offline=true', '--threshold=15', wrong).status).not.toBe(0);
});
