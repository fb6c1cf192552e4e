/**
 * Loads the native addons, from node_modules in a checkout and from the assets of the single executable. Both give the
 * addon's own exports, without the package's JavaScript around them, which finds its files by `__dirname`.
 */

import { closeSync, constants, openSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { raise } from '../lib/errors.ts';

export type AddonName = 'koffi' | 'better-sqlite3';

/** Package and file of each addon; also the list of what the single executable packs. */
const addonFiles: Readonly<Record<AddonName, readonly [string, string]>> = {
  koffi: [`@koromix/koffi-linux-${process.arch}`, `linux_${process.arch}/koffi.node`],
  'better-sqlite3': ['better-sqlite3', `prebuilds/linux-${process.arch}.node`],
};

export const addonNames = Object.keys(addonFiles) as readonly AddonName[];

/** Where the addon is in node_modules, found beside the manifest because a package's export map may hide it. */
export function addonFile(name: AddonName): string {
  const [packageName, file] = addonFiles[name];
  return join(dirname(createRequire(import.meta.url).resolve(`${packageName}/package.json`)), file);
}

export function assetOfAddon(name: AddonName): string {
  return `addon/${name}.node`;
}

/** open(2)'s O_TMPFILE, which Node does not name: __O_TMPFILE | O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

const loaded = new Map<AddonName, unknown>();

/** The addon's own exports; `better-sqlite3`'s go into that package's `nativeBinding` option. */
export function loadAddon(name: AddonName): unknown {
  let exports = loaded.get(name);
  if (exports === undefined) {
    exports = isSea() ? loadFromAsset(name) : dlopen(addonFile(name));
    loaded.set(name, exports);
  }
  return exports;
}

/**
 * dlopen wants a file. Without a name nobody can replace it, and nothing is left behind. The descriptor stays open for
 * the life of the process: the dynamic linker knows libraries by name, and a number used again would give it the first
 * one back. Worker threads share the main thread's file through the environment data they inherit.
 */
function loadFromAsset(name: AddonName): unknown {
  const key = `cyphonic:${assetOfAddon(name)}`;
  const known = getEnvironmentData(key);
  if (typeof known === 'string') return dlopen(known);
  const content = new Uint8Array(getRawAsset(assetOfAddon(name)));
  let why: unknown;
  for (const directory of [tmpdir(), '/run', '/dev/shm', '/var/tmp']) {
    let fd = -1;
    try {
      fd = openSync(directory, constants.O_RDWR | O_TMPFILE, 0o600);
      writeFileSync(fd, content);
      const file = `/proc/self/fd/${fd}`;
      const exports = dlopen(file);
      setEnvironmentData(key, file);
      return exports;
    } catch (error) {
      why ??= error;
      if (fd >= 0) closeSync(fd);
    }
  }
  return raise('SYS_ADDON', { name, why: why instanceof Error ? why.message : why }, why);
}

function dlopen(file: string): unknown {
  const module = { exports: {} };
  process.dlopen(module, file);
  return module.exports;
}
