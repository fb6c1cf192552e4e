/**
 * One large TCP transfer between two hosts, checked: `stream.ts receive ADDRESS PORT` prints how many octets came and
 * their SHA-256; `stream.ts send ADDRESS PORT MEBIBYTES [PER_SECOND]` sends random octets, at most so many MiB a second,
 * and prints the same of what it sent.
 */

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';

const [mode = '', address = '', port = '', mebibytes = '0', perSecond = 'Infinity'] = process.argv.slice(2);
const hash = createHash('sha256');
let octets = 0;

function count(chunk: Uint8Array): void {
  hash.update(chunk);
  octets += chunk.length;
}

if (mode === 'receive') {
  const server = createServer((socket) => {
    server.close();
    socket.on('data', count);
    socket.on('end', () => {
      socket.end();
      console.log(`${octets} ${hash.digest('hex')}`);
    });
  });
  server.listen(Number(port), address, () => console.log('ready'));
} else {
  const socket = connect(Number(port), address);
  await once(socket, 'connect');
  const block = randomBytes(1 << 20);
  for (let i = 0; i < Number(mebibytes); i++) {
    block.writeUInt32LE(i);
    count(block);
    if (!socket.write(Buffer.from(block))) await once(socket, 'drain');
    if (perSecond !== 'Infinity') await setTimeout(1000 / Number(perSecond));
  }
  socket.end();
  socket.resume();
  await once(socket, 'close');
  console.log(`${octets} ${hash.digest('hex')}`);
}
