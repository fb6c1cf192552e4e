/**
 * A DHCPv4 server (RFC 2131 section 4.3) that gives each device the one address it has in the overlay, by its MAC address.
 * It keeps no leases: there is nothing to run out of. A device it doesn't know gets no answer at all.
 *
 * The mask is the whole overlay range's, not /32: every client can then use the gateway and sees its peers on-link, where
 * the adapter answers ARP for them (protocol section 5.5). A /32 would need classless routes (RFC 3442), which simple
 * devices don't know.
 */

import { type Address, addressAt, hostCount, type Prefix } from '../lib/ip.ts';
import { BROADCAST_MAC, type Mac } from '../lib/mac.ts';
import { encodeUdp, type UdpDatagram } from './datagram.ts';
import {
  DHCP4_CLIENT_PORT,
  DHCP4_SERVER_PORT,
  type Dhcp4Message,
  type Dhcp4Options,
  type Dhcp4Type,
  decodeDhcp4,
  dhcp4Options,
  encodeDhcp4,
  serverTypes,
} from './dhcp4.ts';
import type { LinkAction } from './link-actions.ts';
import type { LinkDropReason } from './link-drop.ts';

export type Dhcp4Settings = {
  /** The adapter's address on the inner link, inside the range: router, name server and server identifier. */
  readonly gateway: Address;
  readonly range: Prefix;
  readonly domain: string;
  readonly mtu: number;
  readonly leaseSeconds: number;
};

const NONE: Address = '0.0.0.0';
const BROADCAST: Address = '255.255.255.255';
/** What every client takes (RFC 2131 section 2), and the most that is sent: one frame. Both with IP and UDP header. */
const MIN_SIZE = 576;
const MAX_SIZE = 1500;
const HEADERS = 28;
/** Left out, in this order, of an answer that gets too long. */
const dispensable = ['search', 'domain'] as const;

export class Dhcp4Server {
  readonly #settings: Dhcp4Settings;
  readonly #addressOf: (mac: Mac) => Address | null;
  readonly #mask: Address;
  readonly #broadcastAddress: Address;

  /** `addressOf` gives the address of a device that is admitted and has IPv4, else null. */
  constructor(settings: Dhcp4Settings, addressOf: (mac: Mac) => Address | null) {
    const { range } = settings;
    this.#settings = settings;
    this.#addressOf = addressOf;
    this.#mask = addressAt({ address: NONE, length: 0 }, 2 ** 32 - hostCount(range));
    this.#broadcastAddress = addressAt(range, hostCount(range) - 1);
  }

  /** A datagram to the server's port, in a frame from `mac`. */
  receive(mac: Mac, datagram: UdpDatagram): LinkAction[] {
    const message = decodeDhcp4(datagram.payload);
    if (typeof message === 'string') return [drop(mac, message)];
    const refusal = refusalOf(message, mac, datagram);
    if (refusal !== null) return [drop(mac, refusal)];
    const address = this.#addressOf(mac);
    if (address === null) return [drop(mac, 'dhcp4-unknown-device')];
    const { serverId } = message.options;
    if (serverId !== undefined && serverId !== this.#settings.gateway) return [drop(mac, 'dhcp4-other-server')];
    return this.#answer(message, address);
  }

  #answer(message: Dhcp4Message, address: Address): LinkAction[] {
    const { mac, clientAddress } = message;
    switch (message.type) {
      case 'discover':
        return [this.#reply(message, 'offer', address)];
      case 'request':
        return this.#request(message, address);
      case 'inform':
        // The lease is not the server's then: no times, no address (RFC 2131 section 4.3.5).
        return [clientAddress === address ? this.#reply(message, 'ack', NONE) : drop(mac, 'dhcp4-address')];
      case 'release':
        return [clientAddress === address ? lease('released', mac, address) : drop(mac, 'dhcp4-address')];
      case 'decline': {
        const declined = message.options.requestedAddress === address;
        return [declined ? lease('declined', mac, address) : drop(mac, 'dhcp4-address')];
      }
      default:
        return [drop(mac, 'dhcp4-type')];
    }
  }

  /** RFC 2131 section 4.3.2, table 4: what a client holds to shows which state it is in. */
  #request(message: Dhcp4Message, address: Address): LinkAction[] {
    const { clientAddress, options } = message;
    // SELECTING and INIT-REBOOT name it in the option, RENEWING and REBINDING have it already.
    const wanted = clientAddress === NONE ? options.requestedAddress : clientAddress;
    if (wanted === undefined) return [drop(message.mac, 'dhcp4-malformed')];
    if (wanted !== address) return [this.#reply(message, 'nak', NONE)];
    return [this.#reply(message, 'ack', address), lease('bound', message.mac, address)];
  }

  #reply(message: Dhcp4Message, type: Dhcp4Type, yourAddress: Address): LinkAction {
    const { gateway } = this.#settings;
    const { mac, transactionId, broadcast } = message;
    const clientAddress = type === 'ack' ? message.clientAddress : NONE;
    const reply: Dhcp4Message = {
      type,
      transactionId,
      broadcast,
      clientAddress,
      yourAddress,
      relayAddress: NONE,
      mac,
      options: type === 'nak' ? this.#refusalOptions(message) : this.#options(message, yourAddress !== NONE),
    };
    // RFC 2131 section 4.1.
    const destination =
      type === 'nak' || (clientAddress === NONE && broadcast)
        ? BROADCAST
        : clientAddress === NONE
          ? yourAddress
          : clientAddress;
    const packet = encodeUdp({
      source: gateway,
      destination,
      sourcePort: DHCP4_SERVER_PORT,
      destinationPort: DHCP4_CLIENT_PORT,
      payload: encodeFitting(reply, message.options.maxSize ?? MIN_SIZE),
    });
    return { do: 'send', to: destination === BROADCAST ? BROADCAST_MAC : mac, packet };
  }

  #refusalOptions(message: Dhcp4Message): Dhcp4Options {
    return { serverId: this.#settings.gateway, message: 'not your address', ...echoed(message) };
  }

  #options(message: Dhcp4Message, leased: boolean): Dhcp4Options {
    const { gateway, domain, mtu, leaseSeconds } = this.#settings;
    const { parameters } = message.options;
    const wants = (name: keyof typeof dhcp4Options): boolean => parameters?.includes(dhcp4Options[name][0]) ?? true;
    return {
      serverId: gateway,
      ...(leased && {
        leaseTime: leaseSeconds,
        // RFC 2131 section 4.4.5.
        renewalTime: Math.floor(leaseSeconds * 0.5),
        rebindingTime: Math.floor(leaseSeconds * 0.875),
      }),
      // RFC 2132 section 3.3: the mask goes before the router.
      mask: this.#mask,
      routers: [gateway],
      dns: [gateway],
      ...(wants('mtu') && { mtu }),
      ...(wants('broadcastAddress') && { broadcastAddress: this.#broadcastAddress }),
      ...echoed(message),
      ...(wants('domain') && { domain }),
      ...(wants('search') && { search: [domain] }),
    };
  }
}

/** RFC 6842: the client identifier goes back as it came. */
function echoed({ options: { clientId } }: Dhcp4Message): Dhcp4Options {
  return clientId === undefined ? {} : { clientId };
}

function refusalOf(message: Dhcp4Message, mac: Mac, datagram: UdpDatagram): LinkDropReason | null {
  if (serverTypes.includes(message.type)) return 'dhcp4-rogue-server';
  if (message.relayAddress !== NONE || datagram.sourcePort === DHCP4_SERVER_PORT) return 'dhcp4-relayed';
  return message.mac === mac ? null : 'dhcp4-hardware-address';
}

function encodeFitting(reply: Dhcp4Message, size: number): Uint8Array {
  const room = Math.min(MAX_SIZE, Math.max(MIN_SIZE, size)) - HEADERS;
  const options: { -readonly [K in keyof Dhcp4Options]: Dhcp4Options[K] } = { ...reply.options };
  for (const name of dispensable) {
    const octets = encodeDhcp4({ ...reply, options });
    if (octets.length <= room) return octets;
    delete options[name];
  }
  return encodeDhcp4({ ...reply, options });
}

function drop(mac: Mac, reason: LinkDropReason): LinkAction {
  return { do: 'drop', reason, mac };
}

function lease(event: 'bound' | 'released' | 'declined', mac: Mac, address: Address): LinkAction {
  return { do: 'lease', event, mac, address };
}
