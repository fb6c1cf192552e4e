/**
 * Datagrams in a stream: a 16-bit length before each, as in RFC 4571. One of length 0 holds none and says only that its
 * sender is there.
 */

export const FRAME_HEAD = 2;
/** Longer than any datagram of ours: capsules fill a large frame of Ethernet at most. Whoever says more speaks another language. */
export const MAX_FRAME = 9_216;

export function writeFrameHead(to: Uint8Array, at: number, length: number): void {
  to[at] = length >> 8;
  to[at + 1] = length & 255;
}

/** Cuts a stream into datagrams; holds what is not whole yet, never more than one. */
export class FrameReader {
  readonly #partial = new Uint8Array(FRAME_HEAD + MAX_FRAME);
  #held = 0;

  /** Hands over what became whole. False: the stream is none of ours, and nothing more is to be read from it. */
  push(chunk: Uint8Array, deliver: (datagram: Uint8Array) => void): boolean {
    let at = 0;
    if (this.#held > 0) {
      at = this.#fill(chunk, 0, FRAME_HEAD);
      if (this.#held < FRAME_HEAD) return true;
      const end = FRAME_HEAD + lengthAt(this.#partial, 0);
      if (end > this.#partial.length) return false;
      at = this.#fill(chunk, at, end);
      if (this.#held < end) return true;
      this.#held = 0;
      deliver(this.#partial.slice(FRAME_HEAD, end));
    }
    while (chunk.length - at >= FRAME_HEAD) {
      const length = lengthAt(chunk, at);
      if (length > MAX_FRAME) return false;
      const end = at + FRAME_HEAD + length;
      if (end > chunk.length) break;
      deliver(chunk.subarray(at + FRAME_HEAD, end));
      at = end;
    }
    this.#fill(chunk, at, FRAME_HEAD + MAX_FRAME);
    return true;
  }

  /** Keeps what there is of the next octets, up to `until` in all; returns where the rest begins. */
  #fill(chunk: Uint8Array, at: number, until: number): number {
    const taken = Math.max(0, Math.min(until - this.#held, chunk.length - at));
    this.#partial.set(chunk.subarray(at, at + taken), this.#held);
    this.#held += taken;
    return at + taken;
  }
}

function lengthAt(octets: Uint8Array, at: number): number {
  return (octets[at]! << 8) | octets[at + 1]!;
}
