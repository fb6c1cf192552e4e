/**
 * A UDP socket by remote control, to be run in a namespace: `udp-agent.ts ADDRESS PORT`.
 * A line `{"to":…,"port":…,"text":…}` on stdin is sent, of which `sent` tells; what arrives is printed as
 * `{"from":…,"port":…,"text":…}`.
 */

import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

const [address = '', port = ''] = process.argv.slice(2);
const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');

socket.on('message', (text, from) => {
  console.log(JSON.stringify({ from: from.address, port: from.port, text: text.toString() }));
});
// A refused datagram (ICMP) is no reason to end.
socket.on('error', (error) => console.error(error.message));
socket.bind(Number(port), address, () => console.log('ready'));
createInterface(process.stdin).on('line', (line) => {
  const order = JSON.parse(line) as { to: string; port: number; text: string };
  socket.send(order.text, order.port, order.to, () => console.log('sent'));
});
