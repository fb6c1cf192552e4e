/** JSON with octets in it, as `{ "hex": … }`. */

export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, (_key, part) => (part instanceof Uint8Array ? { hex: part.toHex() } : part), indent);
}

/** Throws what JSON.parse throws. */
export function fromJson(text: string): unknown {
  return JSON.parse(text, (_key, part) => {
    const hex = (part as { hex?: unknown } | null)?.hex;
    return typeof hex === 'string' ? Uint8Array.fromHex(hex) : part;
  });
}
