/** What each stage of the data path costs per packet, without a kernel: `npm run bench:micro`. */

import { ReplayWindow } from '../src/crypto/replay.ts';
import { Coalescer } from '../src/pipeline/coalesce.ts';
import { boardMemory, JobBoard, JobHands } from '../src/pipeline/jobs.ts';
import { OctetMap } from '../src/pipeline/octet-map.ts';
import { Splitter } from '../src/pipeline/segment.ts';
import { largeTcpPacket, smallUdpPacket, TCP_PAYLOAD, TCP_SEGMENT } from '../src/pipeline/warmup.ts';
import { CAPSULE_WINDOW, HEADER_LENGTH, Suite, suiteNames } from '../src/proto/constants.ts';
import { evpAead } from '../src/sys/evp.ts';
import { allocate } from '../src/sys/memory.ts';
import type { PacketDevice } from '../src/sys/tun.ts';

const ROUNDS = 200;
const MILLISECONDS_PER_ROUND = 2;
const INNER = 1_400;

/** Nanoseconds per packet in the best of a few rounds; `call` handles `packets` of them. */
function measure(name: string, packets: number, call: (i: number) => void): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0, i = 1; round < ROUNDS; round++) {
    const start = performance.now();
    let calls = 0;
    for (; performance.now() - start < MILLISECONDS_PER_ROUND; calls += 16) for (let n = 0; n < 16; n++) call(i++);
    best = Math.min(best, ((performance.now() - start) / calls / packets) * 1e6);
  }
  console.log(`${name.padEnd(48)} ${best.toFixed(0).padStart(6)} ns`);
}

const memory = allocate(1 << 18);
const AT = 128;

for (const suite of [Suite.aes256Gcm, Suite.chacha20Poly1305, Suite.cbcMd5]) {
  const aead = evpAead(suite, new Uint8Array(32).fill(suite));
  const sealed = aead.sealedSize(INNER);
  const out = memory.address + 4096;
  const input = memory.address + 8192;
  measure(`seal ${INNER} octets, ${suiteNames[suite]}`, 1, (i) => aead.sealAt(out, HEADER_LENGTH, INNER, i, input));
  aead.sealAt(out, HEADER_LENGTH, INNER, 1, input);
  const capsule = memory.bytes.slice(4096, 4096 + HEADER_LENGTH + sealed);
  // In place, so the sealed octets are put back each time.
  measure(`open ${INNER} octets, ${suiteNames[suite]}`, 1, () => {
    memory.bytes.set(capsule, 4096);
    aead.openAt(out, HEADER_LENGTH, sealed, 1);
  });
  aead.close();
}

const splitter = new Splitter(memory.view);
const segments = Math.ceil(TCP_PAYLOAD / TCP_SEGMENT);
for (const partial of [false, true]) {
  const read = largeTcpPacket();
  measure(`split ${TCP_SEGMENT}-octet segments${partial ? ', checksums left out' : ''}`, segments, () => {
    memory.bytes.set(read, AT);
    splitter.begin(AT, AT + read.length, partial);
    while (splitter.next() >= 0);
  });
}

const nowhere: PacketDevice = { read: () => 0, write: () => 0, writeVectors: () => 0 };
const coalescer = new Coalescer(memory, nowhere, { tcp: true, udp: true }, () => {});

/** Packets one behind the other with the room between them that capsules leave. */
function layOut(packets: readonly Uint8Array[]): number[] {
  let at = AT;
  return packets.map((packet) => {
    memory.bytes.set(packet, at);
    const start = at;
    at += packet.length + 56;
    return start;
  });
}

for (const partial of [false, true]) {
  const read = largeTcpPacket();
  const packets: Uint8Array[] = [];
  memory.bytes.set(read, AT);
  splitter.begin(AT, AT + read.length, partial);
  for (let at = splitter.next(); at >= 0; at = splitter.next()) {
    packets.push(memory.bytes.slice(at, at + splitter.length));
  }
  const starts = layOut(packets);
  const first = packets[0]!;
  measure(`coalesce ${TCP_SEGMENT}-octet segments${partial ? ', checksums left out' : ''}`, segments, () => {
    // The first packet's headers are overwritten by merging.
    memory.bytes.set(first, starts[0]);
    for (let i = 0; i < packets.length; i++) coalescer.add(starts[i]!, packets[i]!.length, partial, 0);
    coalescer.flush();
  });
}

const small = Array.from({ length: 64 }, (_, i) => smallUdpPacket(i).slice(10));
const smallStarts = layOut(small);
measure('coalesce 64-octet UDP, checksums left out', small.length, () => {
  memory.bytes.set(small[0]!, smallStarts[0]);
  for (let i = 0; i < small.length; i++) coalescer.add(smallStarts[i]!, small[i]!.length, true, 0);
  coalescer.flush();
});

for (const count of [1, 1_000, 10_000]) {
  const map = new OctetMap(16);
  const ids = new Uint8Array(16 * count);
  for (let i = 0; i < ids.length; i += 4) new DataView(ids.buffer).setInt32(i, Math.imul(i + 1, 0x9e3779b1));
  for (let i = 0; i < count; i++) map.set(ids.subarray(16 * i, 16 * (i + 1)), i);
  const view = new DataView(ids.buffer);
  measure(`look up a path among ${count}`, 1, (i) => map.find(view, 16 * (i % count)));
}

const window = new ReplayWindow(CAPSULE_WINDOW);
measure('replay window', 1, (i) => window.check(i) && window.accept(i));

const JOB = 32;
const board = boardMemory(1);
const jobs = new JobBoard(board, new SharedArrayBuffer(4), memory);
const hands = new JobHands(board, 0);
measure(`reorder, jobs of ${JOB} packets done backwards`, 2 * JOB, () => {
  for (let i = 0; i < 2; i++) jobs.post(jobs.free(), JOB);
  const [first, second] = [hands.take(), hands.take()];
  hands.finish(second);
  jobs.settled();
  hands.finish(first);
  for (let slot = jobs.settled(); slot >= 0; slot = jobs.settled()) jobs.release(slot);
});
