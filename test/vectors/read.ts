import { readFileSync } from 'node:fs';

/** The vectors of one file in this folder; every value but the name is hexadecimal. */
export function readVectors<T>(name: string): readonly T[] {
  const text = readFileSync(new URL(`${name}.json`, import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly vectors: readonly T[] }).vectors;
}

export function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text);
}
