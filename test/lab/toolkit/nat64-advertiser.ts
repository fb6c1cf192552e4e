/**
 * A router that advertises the prefix of a NAT64 (RFC 8781) to whoever asks: `nat64-advertiser.ts INTERFACE ADDRESS PREFIX
 * LIFETIME`, from its link-local ADDRESS. A line on stdin is another lifetime, which is told to everybody.
 */

import { createInterface } from 'node:readline';
import { parsePrefix } from '../../../src/lib/ip.ts';
import { decodeFrame, EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { ALL_NODES, encodeNdp, ndpType } from '../../../src/net/ndp.ts';
import { noNdpOptions } from '../../../src/net/ndp-options.ts';
import { Protocol } from '../../../src/net/packet.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { interfaceMac, MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';

const VNET_HEADER = 10;
const NEXT_HEADER = 6;
const IPV6_HEADER = 40;
const [interfaceName = '', address = '', prefix = '', first = ''] = process.argv.slice(2);
const source = interfaceMac(interfaceName);
const socket = new PacketSocket(interfaceName);
const memory = allocate(MAX_FRAME);
let lifetime = Number(first);

function advertise(): void {
  const message = {
    ...{ type: 'routerAdvertisement' as const, hopLimit: 64, managed: false, otherConfiguration: false },
    ...{ lifetime: 0, reachableMs: 0, retransmitMs: 0 },
    options: { ...noNdpOptions, sourceMac: source, nat64Prefixes: [{ prefix: parsePrefix(prefix)!, lifetime }] },
  };
  const payload = encodeNdp(message, address, ALL_NODES);
  const frame = encodeFrame({
    destination: '33:33:00:00:00:01',
    source,
    tag: null,
    etherType: EtherType.ipv6,
    payload,
  });
  memory.bytes.fill(0, 0, VNET_HEADER);
  memory.bytes.set(frame, VNET_HEADER);
  socket.send(memory, VNET_HEADER + frame.length);
  console.log(`advertised ${lifetime}`);
}

function isSolicitation(octets: Uint8Array): boolean {
  const frame = decodeFrame(octets);
  if (typeof frame === 'string' || frame.etherType !== EtherType.ipv6) return false;
  return frame.payload[NEXT_HEADER] === Protocol.icmp6 && frame.payload[IPV6_HEADER] === ndpType.routerSolicitation;
}

setInterval(() => {
  for (let length = socket.receive(memory); length > 0; length = socket.receive(memory)) {
    if (isSolicitation(memory.bytes.slice(VNET_HEADER, length))) advertise();
  }
}, 20);
createInterface(process.stdin).on('line', (line) => {
  lifetime = Number(line);
  advertise();
});
console.log('ready');
