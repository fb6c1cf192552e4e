/**
 * Sends datagrams as fast as it can: `flood.ts ADDRESS:PORT[,ADDRESS:PORT…] SECONDS random|plausible [ID…]`. Random
 * octets of random lengths, or Base Headers of every type that only a key could tell from real ones, with random IDs
 * and the given ones. Prints how many were sent.
 */

import { randomFillSync } from 'node:crypto';
import { HeaderOffset } from '../../../src/proto/header.ts';
import { messageTable } from '../../../src/proto/messages.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { SendBatch } from '../../../src/sys/mmsg.ts';
import { encodeSockaddr } from '../../../src/sys/sockaddr.ts';
import { openUdp, UdpPort } from '../../../src/sys/udp.ts';

const [targets = '', seconds = '', kind = 'random', ...ids] = process.argv.slice(2);
const destinations = targets.split(',').map((target) => {
  const colon = target.lastIndexOf(':');
  return encodeSockaddr({ address: target.slice(0, colon), port: Number(target.slice(colon + 1)) });
});
const known = ids.map((id) => Uint8Array.fromHex(id));
const types = Object.values(messageTable).map(({ type }) => type);
const memory = allocate(1 << 20);
const batch = new SendBatch(256);
const udp = new UdpPort(openUdp({ address4: '0.0.0.0', address6: '::', port: 0, orNext: false }));
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;

/** Xorshift (Marsaglia 2003): the octets themselves serve no choice, as disguises leave traces in them. */
let state = 2463534242;
function choose(count: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % count;
}

/** Makes the random octets at `at` look like a message. */
function disguise(at: number, length: number): void {
  const { bytes, view } = memory;
  bytes[at + HeaderOffset.version] = 1;
  bytes[at + HeaderOffset.flags] = choose(16);
  bytes[at + HeaderOffset.type] = types[choose(types.length)]!;
  bytes[at + HeaderOffset.count] = 0;
  view.setUint32(at + HeaderOffset.sequence, choose(2 ** 32));
  view.setUint16(at + HeaderOffset.length, length);
  bytes[at + HeaderOffset.nextOption] = 0;
  bytes[at + HeaderOffset.epoch] = choose(3);
  const id = known[choose(known.length + 1)];
  if (id !== undefined) bytes.set(id, at + HeaderOffset.id);
}

randomFillSync(memory.bytes);
for (let round = 0; performance.now() < end; round++) {
  batch.clear();
  for (let i = 0; !batch.full; i++) {
    const at = (i * 4000 + round * 17) % (memory.bytes.length - 2048);
    const length = kind === 'random' ? 1 + choose(1020) : 48 + choose(256);
    if (kind !== 'random') disguise(at, length);
    batch.add(-1, destinations[i % destinations.length]!, 0, memory.address + at, length);
  }
  sent += batch.count - udp.send(batch);
}
console.log(sent);
