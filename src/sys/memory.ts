/** Memory that the kernel and OpenSSL read and write: it never moves, and its address is taken once. */

import { readFileSync } from 'node:fs';
import { addressOf, viewOf } from './ffi.ts';
import { libc } from './libc.ts';

export type Memory = {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: number;
};

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MADV_DONTNEED = 4;
const PAGE = 4096;
/** Below 2^31 an address is a small integer to V8: passing it to a foreign function allocates nothing and costs a quarter less. */
const LOW_START = 0x1000_0000;
const LOW_END = 0x7fff_0000;
/** How far to look on where something is in the way. */
const STEP = 1 << 24;

let nextLow = LOW_START;

/** Zeroed memory for the life of the process, at a low address where the system has room there. */
export function allocate(length: number): Memory {
  const buffer = mapLow(length) ?? Buffer.allocUnsafeSlow(length).fill(0).buffer;
  const bytes = new Uint8Array(buffer, 0, length);
  return { bytes, view: new DataView(buffer, 0, length), address: addressOf(bytes) };
}

/** Memory that another thread allocated and keeps. */
export function memoryAt(address: number, length: number): Memory {
  const buffer = viewOf(address, length);
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer), address };
}

/**
 * Gives back what only starting needed: freed memory that the C library keeps, in all threads, and pages of the program's
 * own file, nearly all of which starting touches once; the kernel has them at hand should they be wanted again.
 */
export function releaseUnused(): void {
  libc().malloc_trim(0);
  for (const { address, length } of programPages()) libc().madvise(address, length, MADV_DONTNEED);
}

/** Mappings of the program's file that nobody has written to, not even the linker at start. */
function programPages(): { address: number; length: number }[] {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-)/m);
  return mappings
    .filter((mapping) => mapping.includes(` ${process.execPath}\n`) && /^Anonymous: +0 kB$/m.test(mapping))
    .map((mapping) => {
      const [start, end] = mapping.split(/[- ]/, 2).map((address) => Number.parseInt(address, 16)) as [number, number];
      return { address: start, length: end - start };
    });
}

function mapLow(length: number): ArrayBuffer | null {
  const size = Math.ceil(length / PAGE) * PAGE;
  while (nextLow + size < LOW_END) {
    const address = libc().mmap(nextLow, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (address < 0) return null;
    if (address + size < LOW_END) {
      nextLow = address + size;
      return viewOf(address, size);
    }
    // Something is in the way and the kernel chose another place.
    libc().munmap(address, size);
    nextLow += STEP;
  }
  return null;
}
