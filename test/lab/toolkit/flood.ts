/**
 * Sends datagrams as fast as it can: `flood.ts ADDRESS PORT SECONDS random|plausible`. Random octets of random lengths,
 * or Base Headers that only a key could tell from real signalling. Prints how many were sent.
 */

import { randomFillSync } from 'node:crypto';
import { allocate } from '../../../src/sys/memory.ts';
import { SendBatch } from '../../../src/sys/mmsg.ts';
import { encodeSockaddr } from '../../../src/sys/sockaddr.ts';
import { openUdp, UdpPort } from '../../../src/sys/udp.ts';

const [address = '', port = '', seconds = '', kind = 'random'] = process.argv.slice(2);
const memory = allocate(1 << 20);
const batch = new SendBatch(256);
const udp = new UdpPort(openUdp({ address4: '0.0.0.0', address6: '::', port: 0, orNext: false }));
const destination = encodeSockaddr({ address, port: Number(port) });
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;

randomFillSync(memory.bytes);
for (let round = 0; performance.now() < end; round++) {
  batch.clear();
  for (let i = 0; !batch.full; i++) {
    const at = (i * 4000 + round * 17) % (memory.bytes.length - 2048);
    const length = kind === 'random' ? 1 + (memory.bytes[at]! << 2) : 96;
    if (kind !== 'random') memory.bytes.set([1, 0, 13, 0, 0, 0, 0, 1, 0, length, 0, 0], at + 4);
    batch.add(-1, destination, 0, memory.address + at, length);
  }
  sent += batch.count - udp.send(batch);
}
console.log(sent);
