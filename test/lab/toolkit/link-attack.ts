/**
 * Frames that no honest device sends: `link-attack.ts INTERFACE KIND TARGETS`. `starve`: DHCP from 10,000 MAC addresses; `lie`:
 * claims to be somebody else, each a few times; `garble`: messages of every protocol with faults. TARGETS is JSON. Whatever a
 * lie carries has the mark in it, and one honest packet to the peer has another.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeIp, encodeUdp } from '../../../src/net/datagram.ts';
import { type Dhcp4Type, encodeDhcp4 } from '../../../src/net/dhcp4.ts';
import { encodeDhcp6 } from '../../../src/net/dhcp6.ts';
import { encodeEap } from '../../../src/net/eap.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { ALL_NODES, ALL_ROUTERS, encodeNdp, solicitedNode } from '../../../src/net/ndp.ts';
import { noNdpOptions } from '../../../src/net/ndp-options.ts';
import { advertisement } from '../../../src/net/router-advertiser.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { interfaceMac, MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';
import { Random, spoilOne } from '../../support/spoil.ts';

type Somebody = { readonly mac: string; readonly vip4: string; readonly vip6: string };
export type Targets = Readonly<Record<'self' | 'gateway' | 'neighbour' | 'peer', Somebody>> & {
  /** What lies carry, and what the truth does. */
  readonly mark: string;
  readonly honest: string;
};

const VNET_HEADER = 10;
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const EVERYBODY = '255.255.255.255';
const NOBODY = { mac: '06:bb:00:00:00:01', vip4: '100.80.99.99', vip6: 'fd99::99' };
const TIMES = 3;
const GARBLED = 200;
const [interfaceName = '', kind = '', targets = '{}'] = process.argv.slice(2);
const { self, gateway, neighbour, peer, mark, honest } = JSON.parse(targets) as Targets;
const own = interfaceMac(interfaceName);
const socket = new PacketSocket(interfaceName);
const memory = allocate(MAX_FRAME);

type Words = { readonly source?: string; readonly destination?: string; readonly tag?: number };

function send(
  etherType: number,
  payload: Uint8Array,
  { source = own, destination = BROADCAST, tag }: Words = {},
): void {
  put(encodeFrame({ destination, source, tag: tag ?? null, etherType, payload }));
}

function put(frame: Uint8Array): void {
  memory.bytes.set(frame, VNET_HEADER);
  socket.send(memory, VNET_HEADER + frame.length);
}

function dhcp4(type: Dhcp4Type, mac: string): Uint8Array {
  const answers = type === 'offer' || type === 'ack';
  const payload = encodeDhcp4({
    type,
    transactionId: 1,
    broadcast: true,
    clientAddress: '0.0.0.0',
    yourAddress: answers ? '100.80.77.77' : '0.0.0.0',
    relayAddress: '0.0.0.0',
    mac,
    options: {},
  });
  const [sourcePort, destinationPort] = answers ? [67, 68] : [68, 67];
  const source = answers ? '100.80.77.1' : '0.0.0.0';
  return encodeUdp({ source, destination: EVERYBODY, sourcePort, destinationPort, payload });
}

function dhcp6(type: 'solicit' | 'advertise' | 'reply'): Uint8Array {
  const payload = encodeDhcp6({
    type,
    transactionId: 1,
    options: { clientId: Uint8Array.of(0, 3, 0, 1, 2, 0, 0, 0, 0, 1) },
    associations: [],
  });
  const [sourcePort, destinationPort] = type === 'solicit' ? [546, 547] : [547, 546];
  const destination = type === 'solicit' ? 'ff02::1:2' : ALL_NODES;
  return encodeUdp({ source: 'fe80::bad', destination, sourcePort, destinationPort, payload });
}

/** A packet to somebody, from somebody. */
function packet(source: string, destination: string, text: string, destinationPort = 9): Uint8Array {
  return encodeUdp({ source, destination, sourcePort: 9, destinationPort, payload: Buffer.from(text.repeat(4)) });
}

const typeOf = (octets: Uint8Array): number => (octets[0]! >> 4 === 6 ? EtherType.ipv6 : EtherType.ipv4);
const toGateway = (octets: Uint8Array, words: Words = {}): void =>
  send(typeOf(octets), octets, { destination: gateway.mac, ...words });

function claims(): void {
  for (const { vip4, vip6 } of [gateway, neighbour, peer]) {
    const arp = { senderMac: own, senderAddress: vip4, targetMac: own, targetAddress: vip4 };
    for (const operation of ['request', 'reply'] as const) {
      send(EtherType.arp, encodeArp({ operation, ...arp }));
      send(EtherType.arp, encodeArp({ operation, ...arp, targetAddress: gateway.vip4 }), { destination: gateway.mac });
    }
    const options = { ...noNdpOptions, targetMac: own };
    const flags = { router: true, solicited: false, override: true };
    const advertised = { type: 'neighbourAdvertisement' as const, target: vip6, ...flags, options };
    send(EtherType.ipv6, encodeNdp(advertised, vip6, ALL_NODES), { destination: '33:33:00:00:00:01' });
    const asked = { type: 'neighbourSolicitation' as const, target: gateway.vip6 };
    const solicited = encodeNdp(
      { ...asked, options: { ...noNdpOptions, sourceMac: own } },
      vip6,
      solicitedNode(gateway.vip6),
    );
    send(EtherType.ipv6, solicited, { destination: gateway.mac });
  }
}

function servers(): void {
  for (const type of ['offer', 'ack'] as const) send(EtherType.ipv4, dhcp4(type, own));
  for (const type of ['advertise', 'reply'] as const) send(EtherType.ipv6, dhcp6(type));
  const range = { address: 'fd99::', length: 64 };
  const router = advertisement({ mac: own, gateway: 'fd99::1', range, domain: 'evil', mtu: 1280 }, false);
  send(EtherType.ipv6, encodeNdp(router, 'fe80::bad', ALL_NODES), { destination: '33:33:00:00:00:01' });
  // ICMPv6 Redirect: to the peer by way of us.
  const redirect = new Uint8Array(40);
  redirect[0] = 137;
  const words = { source: gateway.vip6, destination: neighbour.vip6, protocol: 58, hopLimit: 255, payload: redirect };
  send(EtherType.ipv6, encodeIp(words), { destination: gateway.mac });
}

function forgeries(): void {
  const false4 = [neighbour, gateway, peer, NOBODY].map(({ vip4 }) => vip4);
  const false6 = [neighbour, gateway, peer, NOBODY].map(({ vip6 }) => vip6);
  const nobody4 = ['203.0.113.66', '127.0.0.1', '0.0.0.0', EVERYBODY, '224.0.0.1'];
  const nobody6 = ['2001:db8::66', '::1', '::', 'fe80::bad', 'ff02::1'];
  for (const to of [peer, neighbour, gateway]) {
    for (const from of [...false4, ...nobody4]) toGateway(packet(from, to.vip4, mark));
    for (const from of [...false6, ...nobody6]) toGateway(packet(from, to.vip6, mark));
    // The right address under a MAC address that is somebody else's, or nobody's.
    for (const { mac } of [neighbour, gateway, peer, NOBODY]) {
      toGateway(packet(self.vip4, to.vip4, mark), { source: mac });
      toGateway(packet(self.vip6, to.vip6, mark), { source: mac });
    }
    const truth = packet(self.vip4, to.vip4, mark);
    // Two tags, outer ones of both kinds.
    send(0x8100, Uint8Array.of(0, 5, 0x81, 0, 0, 6, 8, 0, ...truth), { destination: gateway.mac });
    send(0x88a8, Uint8Array.of(0, 5, 0x81, 0, 0, 6, 8, 0, ...truth), { destination: gateway.mac });
    send(0x8100, Uint8Array.of(0, 6, 8, 0, ...truth), { destination: gateway.mac, tag: 5 });
  }
  // A packet in a packet, in the neighbour's name.
  const inside = packet(neighbour.vip4, peer.vip4, mark);
  for (const protocol of [4, 41, 47]) {
    const outside = { source: neighbour.vip4, destination: peer.vip4, protocol, hopLimit: 64, payload: inside };
    toGateway(encodeIp(outside));
  }
  toGateway(packet(self.vip4, peer.vip4, honest));
}

function messages(): Uint8Array[] {
  const frame = (etherType: number, payload: Uint8Array): Uint8Array =>
    encodeFrame({ destination: gateway.mac, source: own, tag: null, etherType, payload });
  const arp = { senderMac: own, senderAddress: self.vip4, targetMac: own, targetAddress: gateway.vip4 };
  const solicitation = { type: 'neighbourSolicitation' as const, target: gateway.vip6 };
  const options = { ...noNdpOptions, sourceMac: own };
  const identity = encodeEap({ code: 'response', id: 1, type: 1, data: Buffer.from('anonymous') });
  return [
    frame(EtherType.arp, encodeArp({ operation: 'request', ...arp })),
    frame(EtherType.ipv4, dhcp4('discover', own)),
    frame(EtherType.ipv4, dhcp4('request', own)),
    frame(EtherType.ipv6, dhcp6('solicit')),
    frame(EtherType.ipv6, encodeNdp({ ...solicitation, options }, self.vip6, solicitedNode(gateway.vip6))),
    frame(EtherType.ipv6, encodeNdp({ type: 'routerSolicitation', options }, 'fe80::bad', ALL_ROUTERS)),
    frame(EtherType.eapol, encodeEapol('start')),
    frame(EtherType.eapol, encodeEapol('packet', identity)),
    frame(EtherType.ipv4, packet(self.vip4, gateway.vip4, 'dns?', 53)),
  ];
}

const attacks: Readonly<Record<string, () => Promise<void>>> = {
  async starve() {
    for (let i = 0; i < 10_000; i++) {
      const mac = `06:aa:00:00:${[i >> 8, i].map((n) => (n & 255).toString(16).padStart(2, '0')).join(':')}`;
      send(EtherType.ipv4, dhcp4('discover', mac), { source: mac });
      if (i % 50 === 0) await pause(1);
    }
  },
  async lie() {
    for (let i = 0; i < TIMES; i++) {
      for (const tell of [claims, servers, forgeries]) {
        tell();
        // More than a share a second would only be dropped as that.
        await pause(400);
      }
    }
  },
  async garble() {
    const corpus = messages();
    const random = new Random(7);
    const buffer = new Uint8Array(MAX_FRAME);
    for (let i = 0; i < GARBLED; i++) {
      const length = spoilOne(buffer, corpus, random);
      // In our own name, else it says nothing of what follows.
      buffer.set(corpus[0]!.subarray(6, 12), 6);
      put(buffer.subarray(0, Math.max(length, 14)));
      // No faster than a device's share: else it is not looked at.
      await pause(20);
    }
  },
};

await attacks[kind]!();
