/**
 * A name server of the Internet: `name-server.ts ADDRESS OVERLAY-ADDRESS [NAT64-PREFIX|none]`. It knows www.example.net, and a
 * rebind.example.net that leads into somebody's overlay. many.example.net has more addresses than a datagram carries, which
 * is cut. It is a DNS64 for the one name by which those are
 * known. Prints the names it was asked for.
 */

import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { decode, encode, RECURSION_AVAILABLE } from 'dns-packet';

const [address = '', overlay = '', prefix = '64:ff9b::'] = process.argv.slice(2);
const known: Record<string, string> = { 'www.example.net': '192.0.2.80', 'rebind.example.net': overlay };
/** More than 1,232 octets. */
const many = Array.from({ length: 100 }, (_, i) => `192.0.2.${i}`);
const MANY = 'many.example.net';
const TRUNCATED = 0x200;
/** RFC 7050; without another prefix, with that of RFC 6052. */
const translated: Record<string, string> = prefix === 'none' ? {} : { 'ipv4only.arpa': `${prefix}c000:aa` };
const NXDOMAIN = 3;

function answer(octets: Buffer, byUdp: boolean): Buffer {
  const { id = 0, questions = [] } = decode(octets);
  const name = questions[0]?.name.toLowerCase() ?? '';
  console.log(name);
  const type = questions[0]?.type === 'AAAA' ? 'AAAA' : 'A';
  const data = (type === 'AAAA' ? translated : known)[name];
  const exists = name in known || name in translated || name === MANY;
  const cut = name === MANY && byUdp;
  const found = name === MANY && type === 'A' && !byUdp ? many : data === undefined ? [] : [data];
  return encode({
    type: 'response',
    id,
    flags: RECURSION_AVAILABLE | (exists ? 0 : NXDOMAIN) | (cut ? TRUNCATED : 0),
    questions,
    answers: questions[0]?.type === type ? found.map((each) => ({ type, name, ttl: 60, data: each })) : [],
  });
}

const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
udp.on('message', (octets, from) => udp.send(answer(octets, true), from.port, from.address));
const tcp = createServer((socket) => {
  // Queries are smaller than a segment.
  socket.on('data', (chunk) => {
    const response = answer((chunk as Buffer).subarray(2), false);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(response.length);
    socket.write(Buffer.concat([length, response]));
  });
  socket.on('error', () => {});
});
udp.bind(53, address, () => tcp.listen(53, address, () => console.log('ready')));
