/**
 * What is said on the inner link: frames from devices in, answers out. Who is a general node, and which addresses it has,
 * is asked of the machine; a device that is not admitted gets no answer but to EAPOL.
 */

import { viewOf } from '../../lib/bytes.ts';
import { type Address, contains, familyOf } from '../../lib/ip.ts';
import type { Mac } from '../../lib/mac.ts';
import type { Now } from '../../lib/time.ts';
import { type Arp, encodeArp } from '../../net/arp.ts';
import {
  decodeIp,
  decodeUdp,
  encodeIp,
  encodeUdp,
  type ReceivedPacket,
  sealTransport,
  type UdpDatagram,
} from '../../net/datagram.ts';
import { Dhcp4Server } from '../../net/dhcp4-server.ts';
import { Dhcp6Server } from '../../net/dhcp6-server.ts';
import { EtherType, encodeFrame, type Frame } from '../../net/ethernet.ts';
import { icmpError } from '../../net/icmp-error.ts';
import type { LinkAction } from '../../net/link-actions.ts';
import type { LinkDropReason } from '../../net/link-drop.ts';
import { readFrame } from '../../net/link-message.ts';
import { ALL_NODES, encodeNdp, type NdpMessage, solicitedNode } from '../../net/ndp.ts';
import { noNdpOptions } from '../../net/ndp-options.ts';
import { answerArp, answerSolicitation, judgeAdvertisement, type NeighbourTable } from '../../net/neighbours.ts';
import { foldSum, Protocol, sumWords } from '../../net/packet.ts';
import { type AdvertiserAction, advertisement, RouterAdvertiser } from '../../net/router-advertiser.ts';
import { Buckets } from '../limits.ts';
import type { GeneralNode } from './general-node.ts';
import type { AdapterAction, AdapterOptions } from './types.ts';

/** Seconds. An address is for life: a lease only says how often a device asks whether the adapter is still there. */
const LEASE_SECONDS = 3_600;
const DNS_PORT = 53;
/** RFC 1812 section 4.3.2.8: ICMP errors to one device. */
const ERRORS = { burst: 10, perSecond: 10 };
type DeviceMessage = Exclude<NdpMessage, { readonly type: 'routerAdvertisement' }>;
const EchoType = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const;
/** RFC 792, RFC 4443 section 4.1. */
const ECHO_HEADER = 8;
const ICMP_CHECKSUM = 2;

export type LinkDirectory = {
  /** The active general node with this MAC address. */
  active(mac: Mac): GeneralNode | undefined;
  ownerOf(address: Address): Mac | null;
  /** How the frames of a device are tagged. */
  tagOf(mac: Mac): number | null;
  emit(...actions: AdapterAction[]): void;
  eapol(mac: Mac, pdu: Uint8Array, now: Now): void;
  drop(reason: LinkDropReason, mac: Mac): void;
};

export class Link {
  readonly #options: AdapterOptions;
  readonly #directory: LinkDirectory;
  readonly #table: NeighbourTable;
  readonly #dhcp4: Dhcp4Server;
  readonly #dhcp6: Dhcp6Server;
  readonly #advertiser: RouterAdvertiser;
  readonly #errors = new Buckets(ERRORS);
  /** When the advertiser wants its turn. */
  due = Number.POSITIVE_INFINITY;

  constructor(options: AdapterOptions, directory: LinkDirectory) {
    this.#options = options;
    this.#directory = directory;
    const { mac, gateway4, gateway6, range4, range6, linkLocal, domain, mtu } = options;
    const vip4 = (of: Mac): Address | null => directory.active(of)?.device.vip4 ?? null;
    const vip6 = (of: Mac): Address | null => directory.active(of)?.device.vip6 ?? null;
    this.#table = {
      mac,
      gateway4,
      gateway6,
      range4,
      range6,
      addressesOf: (of) => directory.active(of)?.device ?? null,
      ownerOf: (address) => directory.ownerOf(address),
    };
    const lease = { domain, leaseSeconds: LEASE_SECONDS };
    this.#dhcp4 = new Dhcp4Server({ gateway: gateway4, range: range4, mtu, ...lease }, vip4);
    this.#dhcp6 = new Dhcp6Server({ mac, linkLocal, gateway: gateway6, ...lease }, vip6);
    this.#advertiser = new RouterAdvertiser(options.random);
  }

  /** A general node is active from now on. */
  joined({ device }: GeneralNode, now: Now): void {
    if (device.mac !== null && device.vip6 !== null) this.#advertise(this.#advertiser.admit(device.mac, now));
  }

  left({ device }: GeneralNode): void {
    if (device.mac !== null) this.#advertise(this.#advertiser.dismiss(device.mac, true));
  }

  tick(now: Now): void {
    if (this.due > now.ms) return;
    this.due = Number.POSITIVE_INFINITY;
    this.#advertise(this.#advertiser.tick(now));
  }

  /** The adapter stops: its router advertisements are taken back. */
  withdraw(): void {
    this.#advertise(this.#advertiser.withdraw());
  }

  receive(frame: Frame, now: Now): void {
    const { source } = frame;
    const message = readFrame(frame, this.#options.gateway4);
    if (typeof message === 'string') {
      this.#directory.drop(message, source);
      return;
    }
    switch (message.is) {
      case 'eapol':
        this.#directory.eapol(source, message.pdu, now);
        break;
      case 'arp':
        this.#answer(answerArp(frame, message.arp, this.#table), source);
        break;
      case 'ndp':
        this.#ndp(frame, message.packet, message.message, now);
        break;
      case 'dhcp4':
        this.#dhcp(source, this.#dhcp4.receive(source, message.datagram));
        break;
      case 'dhcp6':
        this.#dhcp(source, this.#dhcp6.receive(source, message.datagram));
        break;
      case 'packet':
        this.#packet(frame, message.octets, now);
        break;
      case 'other':
    }
  }

  /** The answer to a query that was put before. */
  resolved(mac: Mac, query: UdpDatagram, response: Uint8Array): void {
    const { source, sourcePort, destination, destinationPort } = query;
    this.#send(
      mac,
      encodeUdp({
        source: destination,
        sourcePort: destinationPort,
        destination: source,
        destinationPort: sourcePort,
        payload: response,
      }),
    );
  }

  /** Asks a device whether it has its address still. */
  probe({ device: { mac, vip4, vip6 } }: GeneralNode): void {
    const { gateway4, linkLocal } = this.#options;
    if (mac === null) return;
    if (vip4 !== null) {
      const { mac: senderMac } = this.#options;
      const arp: Arp = {
        operation: 'request',
        senderMac,
        senderAddress: gateway4,
        targetMac: '00:00:00:00:00:00',
        targetAddress: vip4,
      };
      this.#transmit(mac, EtherType.arp, encodeArp(arp));
    } else if (vip6 !== null) {
      const options = { ...noNdpOptions, sourceMac: this.#options.mac };
      const packet = encodeNdp(
        { type: 'neighbourSolicitation', target: vip6, options },
        linkLocal,
        solicitedNode(vip6),
      );
      this.#send(mac, packet);
    }
  }

  #ndp(frame: Frame, packet: ReceivedPacket, message: DeviceMessage, now: Now): void {
    const { source } = frame;
    if (message.type === 'routerSolicitation') this.#advertise(this.#advertiser.solicited(source, now));
    else if (message.type === 'neighbourSolicitation') {
      this.#answer(answerSolicitation(frame, packet, message, this.#table), source);
    } else this.#answer(judgeAdvertisement(frame, message, this.#table), source);
  }

  /** A packet that the data plane did not carry: to the adapter itself, to elsewhere, or of a device it does not know yet. */
  #packet({ source: mac }: Frame, octets: Uint8Array, now: Now): void {
    const packet = decodeIp(octets);
    const node = this.#directory.active(mac);
    if (node === undefined) return;
    if (typeof packet === 'string') this.#directory.drop(packet, mac);
    else if (packet.source !== node.device.vip4 && packet.source !== node.device.vip6) {
      this.#directory.drop('packet-spoofed', mac);
    } else this.#carry(node, mac, packet, now);
  }

  #carry(node: GeneralNode, mac: Mac, packet: ReceivedPacket, now: Now): void {
    const { source, destination } = packet;
    const { gateway4, gateway6, range4, range6, internet } = this.#options;
    if (destination === gateway4 || destination === gateway6) this.#toGateway(node, mac, packet);
    else if (contains(range4, destination) || contains(range6, destination)) {
      this.#directory.emit({ do: 'carry', deviceId: node.device.deviceId, packet: packet.octets, destination });
    } else if (!internet) {
      this.#directory.drop('packet-elsewhere', mac);
      if (!this.#errors.take(mac, now.ms)) return;
      const error = icmpError(packet.octets, familyOf(source) === 4 ? gateway4 : gateway6, { kind: 'prohibited' });
      if (error !== null) this.#send(mac, error);
    }
  }

  /** Name queries and echo requests; the gateway has nothing else. */
  #toGateway({ device: { deviceId } }: GeneralNode, mac: Mac, packet: ReceivedPacket): void {
    if (packet.protocol === Protocol.udp) {
      const datagram = decodeUdp(packet);
      if (typeof datagram === 'string') this.#directory.drop(datagram, mac);
      else if (datagram.destinationPort === DNS_PORT) this.#directory.emit({ do: 'query', deviceId, datagram });
      return;
    }
    const six = familyOf(packet.source) === 6;
    const { request, reply } = EchoType[six ? 6 : 4];
    if (packet.protocol !== (six ? Protocol.icmp6 : Protocol.icmp) || packet.payload[0] !== request) return;
    if (packet.payload.length < ECHO_HEADER) {
      this.#directory.drop('packet-malformed', mac);
      return;
    }
    const payload = Uint8Array.from(packet.payload);
    payload[0] = reply;
    const { source, destination, protocol } = packet;
    const echo = encodeIp({ source: destination, destination: source, protocol, hopLimit: 64, payload });
    this.#send(mac, six ? sealTransport(echo, ICMP_CHECKSUM) : sealIcmp(echo, payload.length));
  }

  #answer(answer: Frame | null | LinkDropReason, mac: Mac): void {
    if (typeof answer === 'string') this.#directory.drop(answer, mac);
    else if (answer !== null) this.#directory.emit({ do: 'transmit', frame: encodeFrame(answer) });
  }

  #dhcp(asker: Mac, actions: readonly LinkAction[]): void {
    for (const action of actions) {
      switch (action.do) {
        case 'send':
          this.#send(action.to, action.packet, asker);
          break;
        case 'drop':
          this.#directory.drop(action.reason, action.mac);
          break;
        case 'lease':
          this.#directory.emit({ do: 'count', name: `lease-${action.event}` });
          if (action.event === 'declined') this.#directory.drop('address-declined', action.mac);
      }
    }
  }

  #advertise(actions: readonly AdvertiserAction[]): void {
    for (const action of actions) {
      if (action.do === 'wake') {
        this.due = action.at;
        continue;
      }
      const { mac, gateway6: gateway, range6: range, domain, mtu, linkLocal } = this.#options;
      const message = advertisement({ mac, gateway, range, domain, mtu }, action.final);
      this.#send(action.to, encodeNdp(message, linkLocal, ALL_NODES));
    }
  }

  /** `device` is whom it is for, also where the frame goes to all. */
  #send(to: Mac, packet: Uint8Array, device = to): void {
    this.#transmit(to, packet[0]! >> 4 === 6 ? EtherType.ipv6 : EtherType.ipv4, packet, device);
  }

  #transmit(destination: Mac, etherType: number, payload: Uint8Array, device = destination): void {
    const { mac: source } = this.#options;
    const tag = this.#directory.tagOf(device);
    this.#directory.emit({ do: 'transmit', frame: encodeFrame({ destination, source, tag, etherType, payload }) });
  }
}

/** ICMP for IPv4 has a checksum without a pseudo-header. */
function sealIcmp(packet: Uint8Array, length: number): Uint8Array {
  const view = viewOf(packet);
  const start = packet.length - length;
  view.setUint16(start + ICMP_CHECKSUM, 0);
  view.setUint16(start + ICMP_CHECKSUM, ~foldSum(sumWords(view, start, length)));
  return packet;
}
