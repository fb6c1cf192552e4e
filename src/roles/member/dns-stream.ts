/** DNS over TCP: each message after its length in 16 bits (RFC 1035 section 4.2.2). */

export function frame(message: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  framed.set(message, 2);
  return framed;
}

/** Cuts a stream's chunks into messages; keeps at most one unfinished message. */
export class DnsStream {
  #pending: Buffer = Buffer.alloc(0);

  push(chunk: Uint8Array): Uint8Array[] {
    const octets = this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    const messages: Uint8Array[] = [];
    let at = 0;
    while (at + 2 <= octets.length) {
      const end = at + 2 + octets.readUInt16BE(at);
      if (end > octets.length) break;
      messages.push(octets.subarray(at + 2, end));
      at = end;
    }
    this.#pending = octets.subarray(at);
    return messages;
  }
}
