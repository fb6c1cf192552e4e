/** A list of pieces of memory for gathering system calls: iovec {address 64, length 64} each. */

import type { Memory } from './memory.ts';

export const IOVEC = 16;

/** Writes an address, which is below 2^53. */
export function setAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address, true);
  view.setUint32(at + 4, address / 0x1_0000_0000, true);
}

/** Writes iovec number `index` of the list at `at`. */
export function setVector(memory: Memory, at: number, address: number, length: number): void {
  setAddress(memory.view, at, address);
  memory.view.setUint32(at + 8, length, true);
}

export function vectorAddress(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
}

export function vectorLength(view: DataView, at: number): number {
  return view.getUint32(at + 8, true);
}
