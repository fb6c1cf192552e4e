/** Failed system calls as errors of the table, with the errno's name instead of its number. */

import { getSystemErrorName } from 'node:util';
import { raise } from '../lib/errors.ts';
import { errno } from './ffi.ts';

/** `ENODEV` for 19. */
export function errnoName(code: number): string {
  return getSystemErrorName(-code);
}

/** Raises the error of the call that just returned -1; `hint` says more or what to do. */
export function raiseErrno(call: string, hint = '', code = errno()): never {
  return raise('SYS_CALL', { call, errno: errnoName(code), hint: hint === '' ? '' : ` (${hint})` });
}
