import { describe, expect, it } from 'vitest';
import { CyphonicError, type ErrorCode, errorTable, raise } from '../../src/lib/errors.ts';

const codes = Object.keys(errorTable) as ErrorCode[];

describe('the error table', () => {
  it.each(codes)('%s says who is at fault, in one line', (code) => {
    expect(code).toMatch(/^(USAGE|CONFIG|DAEMON|REFUSED|SYS|REGISTER|PEER|BUG)_[A-Z0-9_]+$/);
    expect(errorTable[code]).toMatch(/^\S[^\n]*\S$/);
  });

  it.each(codes)('%s leaves no placeholder behind', (code) => {
    const names = [...errorTable[code].matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
    const error = new CyphonicError(code, Object.fromEntries(names.map((name) => [name, `<${name}>`])));
    for (const name of names) expect(error.message).toContain(`<${name}>`);
    expect(error.message).not.toMatch(/[{}]/);
    expect(new CyphonicError(code).message).not.toMatch(/[{}]|undefined/);
  });

  it.each(codes)('%s ends the process as its prefix says', (code) => {
    const expected = { USAGE: 2, CONFIG: 2, DAEMON: 3, REFUSED: 4, SYS: 1, REGISTER: 1, PEER: 1, BUG: 1 };
    expect(new CyphonicError(code).exitCode).toBe(expected[code.split('_')[0] as keyof typeof expected]);
  });
});

describe('raise', () => {
  it('throws with code, details and cause', () => {
    const cause = new RangeError('before');
    const details = { file: 'cloud.yaml', why: 'no domain' };
    try {
      raise('CONFIG_INVALID', details, cause);
    } catch (error) {
      expect(error).toBeInstanceOf(CyphonicError);
      expect(error).toMatchObject({ name: 'CyphonicError', code: 'CONFIG_INVALID', details, cause });
      expect((error as CyphonicError).message).toContain('cloud.yaml: no domain');
      return;
    }
    expect.fail('nothing thrown');
  });

  it('fills what it is told, as it is told', () => {
    const details = { what: '{file} $& $1' };
    expect(() => raise('BUG_UNREACHABLE', details)).toThrow('internal error: {file} $& $1; please report it');
  });

  it('has no cause unless told', () => {
    expect(new CyphonicError('PEER_INVALID')).not.toHaveProperty('cause');
  });
});
