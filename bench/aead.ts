/** What sealing and opening one packet costs, per suite: `node bench/aead.ts [octets]`. */

import { Suite, suiteNames } from '../src/proto/constants.ts';
import { evpAead } from '../src/sys/evp.ts';
import { addressOf } from '../src/sys/ffi.ts';

const AAD_LENGTH = 32;
const PACKETS = 50_000;
const ROUNDS = 5;

const plainLength = Number(process.argv[2] ?? 1400);

/** Nanoseconds per call in the best of a few rounds; the first ones also warm the interpreter up. */
function nanoseconds(call: (i: number) => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 1; i <= PACKETS; i++) call(i);
    best = Math.min(best, ((performance.now() - start) / PACKETS) * 1e6);
  }
  return Math.round(best);
}

for (const suite of Object.values(Suite)) {
  const aead = evpAead(suite, new Uint8Array(32).fill(suite));
  const packet = Buffer.allocUnsafeSlow(AAD_LENGTH + aead.sealedSize(plainLength)).fill(0);
  const address = addressOf(packet);
  const seal = nanoseconds((i) => aead.sealAt(address, AAD_LENGTH, plainLength, i));
  aead.sealAt(address, AAD_LENGTH, plainLength, 1);
  const sealed = Uint8Array.from(packet);
  const bodyLength = packet.length - AAD_LENGTH;
  // Opening is in place: the packet is put back each time.
  const open = nanoseconds(() => {
    packet.set(sealed);
    aead.openAt(address, AAD_LENGTH, bodyLength, 1);
  });
  console.log(`${suiteNames[suite]}: seal ${seal} ns, open ${open} ns for ${plainLength} octets`);
  aead.close();
}
