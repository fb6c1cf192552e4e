/**
 * A camera as RTSP has it, and who watches some: `camera.ts serve` answers PLAY with a port on TCP 8554 by packets with a number
 * in front, 25 frames a second, to that UDP port; `camera.ts watch NAME…` plays all at once and prints, for each, how many came
 * and how many of them late.
 */

import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const RTSP_PORT = 8554;
const FRAMES = 100;
const FRAME_MS = 40;
const PACKETS_PER_FRAME = 8;
const PACKET = 1_200;
const PACKETS = FRAMES * PACKETS_PER_FRAME;
/** How much later than its sender's last word a packet may come. */
const LATE_MS = 2_000;

async function play(address: string, port: number): Promise<void> {
  const socket = createSocket('udp4');
  const packet = Buffer.alloc(PACKET);
  for (let number = 0; number < PACKETS; number++) {
    packet.writeUInt32BE(number);
    await new Promise((sent) => socket.send(packet, port, address, sent));
    if (number % PACKETS_PER_FRAME === PACKETS_PER_FRAME - 1) await pause(FRAME_MS);
  }
  socket.close();
}

function serve(): void {
  createServer((control) => {
    control.once('data', async (words) => {
      await play(control.remoteAddress!, Number(words.toString().split(' ')[1]));
      control.end('TEARDOWN');
    });
  }).listen(RTSP_PORT, '0.0.0.0', () => console.log('ready'));
}

async function watch(name: string): Promise<{ readonly came: number; readonly late: number }> {
  // Room for what comes while others have the processor.
  const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
  let [came, late, last] = [0, 0, -1];
  const ended = Promise.withResolvers<void>();
  socket.on('message', (packet) => {
    const number = packet.readUInt32BE();
    came++;
    if (number < last) late++;
    last = Math.max(last, number);
    if (number === PACKETS - 1) ended.resolve();
  });
  await new Promise<void>((bound) => socket.bind(0, bound));
  const control = connect(RTSP_PORT, name, () => control.write(`PLAY ${socket.address().port}`));
  await new Promise((told, failed) => control.resume().once('end', told).once('error', failed));
  // The last packet may be behind the word that it was the last, or lost.
  await Promise.race([ended.promise, pause(LATE_MS, null, { ref: false })]);
  socket.close();
  return { came, late };
}

const [what, ...names] = process.argv.slice(2);
if (what === 'serve') serve();
if (what === 'watch') console.log(JSON.stringify(await Promise.all(names.map(watch))));
