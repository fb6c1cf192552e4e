/**
 * Native addons inside a single executable: they travel as assets, but the dynamic loader wants a file. An unnamed
 * one (O_TMPFILE) in the temporary directory leaves nothing behind and can't be swapped by anybody between writing
 * and loading.
 */

import { closeSync, constants, openSync, writeFileSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { getRawAsset, isSea } from 'node:sea';
import { raise } from '../lib/errors.ts';

/** open(2)'s O_TMPFILE, which Node does not name: __O_TMPFILE | O_DIRECTORY, the former 0x400000 on x64 and arm64. */
const O_TMPFILE = 0x400000 | constants.O_DIRECTORY;

/** Whether the program runs as one file, with addons and workers as assets. */
export const singleExecutable: boolean = isSea();

/** Exports of the addon stored as asset `name`. Works in workers too: each thread loads its own instance. */
export function loadAddonAsset(name: string): unknown {
  const directory = tmpdir();
  let descriptor: number;
  try {
    descriptor = openSync(directory, constants.O_RDWR | O_TMPFILE, 0o700);
    try {
      writeFileSync(descriptor, new Uint8Array(getRawAsset(name)));
      const module = { exports: {} };
      process.dlopen(module, `/proc/self/fd/${descriptor}`, osConstants.dlopen.RTLD_LAZY);
      return module.exports;
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    return raise('SYS_ADDON', { name, directory, why: (cause as Error).message }, cause);
  }
}
