/**
 * Foreign functions: the only place that knows koffi. Addresses are declared `int64_t` and passed as Number, which
 * costs a third of a `void *` passed as BigInt (user-space addresses are below 2^53). Everything is loaded on first use.
 */

import { raise } from '../lib/errors.ts';
import { loadAddon } from './addon.ts';

/** A loaded shared library, to be handed to `bind`. */
export type Library = { func(prototype: string): unknown };

/** The part of koffi in use: the addon's own exports. */
type Koffi = {
  load(path: string | null): Library;
  errno(): number;
  address(view: ArrayBufferView): bigint;
  view(address: bigint, length: number): ArrayBuffer;
};

let koffi: Koffi | undefined;

function load(): Koffi {
  koffi ??= loadAddon('koffi') as Koffi;
  return koffi;
}

const libraries = new Map<string | null, Library>();

/** A shared library by file name; null = the program itself, which holds OpenSSL and the C library's symbols. */
export function library(name: string | null): Library {
  let loaded = libraries.get(name);
  if (loaded === undefined) {
    try {
      loaded = load().load(name);
    } catch (cause) {
      raise('SYS_LIBRARY', { name: name ?? 'the program itself', why: (cause as Error).message }, cause);
    }
    libraries.set(name, loaded);
  }
  return loaded;
}

/**
 * Binds a C prototype, such as `int64_t write(int fd, int64_t address, int64_t length)`, to the function type the
 * caller states. Variadic functions (ioctl, fcntl) are declared with the arguments they are called with.
 */
export function bind<F>(from: Library, prototype: string): F {
  try {
    return from.func(prototype) as F;
  } catch (cause) {
    return raise('SYS_LIBRARY', { name: prototype, why: (cause as Error).message }, cause);
  }
}

/** This thread's errno. Any call in between may change it: read it in the expression after the call. */
export function errno(): number {
  return load().errno();
}

/**
 * Where a view's octets are in memory. Stays true only for memory that never moves (SharedArrayBuffer,
 * Buffer.allocUnsafeSlow), and only while something refers to it.
 */
export function addressOf(view: Uint8Array): number {
  return Number(load().address(view));
}

/** Memory that something else allocated, as a buffer; it must stay mapped for the life of the process. */
export function viewOf(address: number, length: number): ArrayBuffer {
  return load().view(BigInt(address), length);
}
