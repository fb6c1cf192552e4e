/**
 * A DHCPv6 server (RFC 9915 section 18.3, before it RFC 8415) that gives each device the one address it has in the overlay.
 * Devices are known by the MAC address of their frames, not by their DUID, which anybody can copy. It keeps no leases; a
 * device it doesn't know gets no answer at all.
 */

import { sameOctets } from '../lib/bytes.ts';
import { type Address, isLinkLocal } from '../lib/ip.ts';
import type { Mac } from '../lib/mac.ts';
import { encodeUdp, type UdpDatagram } from './datagram.ts';
import {
  type Association,
  DHCP6_CLIENT_PORT,
  DHCP6_SERVER_PORT,
  DHCP6_SERVERS,
  type Dhcp6Message,
  type Dhcp6Options,
  type Dhcp6Type,
  decodeDhcp6,
  dhcp6Options,
  encodeDhcp6,
  type StatusCode,
  statusCode,
} from './dhcp6.ts';
import { duidOf } from './duid.ts';
import type { LinkAction } from './link-actions.ts';
import type { LinkDropReason } from './link-drop.ts';

export type Dhcp6Settings = {
  /** Of the inner interface: makes the server's DUID. */
  readonly mac: Mac;
  /** The inner interface's own address, which answers come from. */
  readonly linkLocal: Address;
  /** The adapter's address on the inner link: the name server. */
  readonly gateway: Address;
  readonly domain: string;
  readonly leaseSeconds: number;
};

/** So that a client takes the first answer at once (section 18.2.1). */
const HIGHEST_PREFERENCE = 255;
/** IRT_MINIMUM (section 7.6). */
const MIN_REFRESH = 600;

type Need = 'must' | 'may' | 'never';
/** What a client's message carries (sections 16.2 to 16.12); any other message is a server's. */
const clientMessages: { readonly [K in Dhcp6Type]?: Readonly<Record<'clientId' | 'serverId' | 'association', Need>> } =
  {
    solicit: { clientId: 'must', serverId: 'never', association: 'may' },
    request: { clientId: 'must', serverId: 'must', association: 'may' },
    confirm: { clientId: 'must', serverId: 'never', association: 'must' },
    renew: { clientId: 'must', serverId: 'must', association: 'may' },
    rebind: { clientId: 'must', serverId: 'never', association: 'may' },
    release: { clientId: 'must', serverId: 'must', association: 'may' },
    decline: { clientId: 'must', serverId: 'must', association: 'may' },
    informationRequest: { clientId: 'may', serverId: 'may', association: 'never' },
  };

/** What is answered: beside the message, what became of the lease. */
type Answer = {
  readonly type: 'advertise' | 'reply';
  readonly options?: Dhcp6Options;
  readonly associations?: readonly Association[];
  readonly lease?: 'bound' | 'released' | 'declined';
};

export class Dhcp6Server {
  readonly #settings: Dhcp6Settings;
  readonly #addressOf: (mac: Mac) => Address | null;
  readonly #serverId: Uint8Array;

  /** `addressOf` gives the address of a device that is admitted and has IPv6, else null. */
  constructor(settings: Dhcp6Settings, addressOf: (mac: Mac) => Address | null) {
    this.#settings = settings;
    this.#addressOf = addressOf;
    this.#serverId = duidOf(settings.mac);
  }

  /** A datagram to the server's port, in a frame from `mac`. */
  receive(mac: Mac, datagram: UdpDatagram): LinkAction[] {
    const drop = (reason: LinkDropReason): LinkAction[] => [{ do: 'drop', reason, mac }];
    const message = decodeDhcp6(datagram.payload);
    if (typeof message === 'string') return drop(message);
    const refusal = this.#refusalOf(message, datagram);
    if (refusal !== null) return drop(refusal);
    const address = this.#addressOf(mac);
    if (address === null) return drop('dhcp6-unknown-device');
    const answer = this.#answer(message, address);
    if (answer === null) return drop('dhcp6-options');
    const packet = encodeUdp({
      source: this.#settings.linkLocal,
      destination: datagram.source,
      sourcePort: DHCP6_SERVER_PORT,
      destinationPort: DHCP6_CLIENT_PORT,
      payload: this.#encode(message, answer),
    });
    const send: LinkAction = { do: 'send', to: mac, packet };
    return answer.lease === undefined ? [send] : [send, { do: 'lease', event: answer.lease, mac, address }];
  }

  #refusalOf(message: Dhcp6Message, datagram: UdpDatagram): LinkDropReason | null {
    const needs = clientMessages[message.type];
    if (needs === undefined) return 'dhcp6-rogue-server';
    // No client was ever told to use unicast (RFC 9915 has no such option any more).
    if (datagram.destination !== DHCP6_SERVERS || !isLinkLocal(datagram.source)) return 'dhcp6-address';
    const { clientId, serverId } = message.options;
    const present = { clientId: clientId !== undefined, serverId: serverId !== undefined };
    const fits = (need: Need, is: boolean): boolean => need === 'may' || (need === 'must') === is;
    const associated = message.associations.length > 0;
    if (!fits(needs.clientId, present.clientId) || !fits(needs.serverId, present.serverId)) return 'dhcp6-options';
    if (!fits(needs.association, associated)) return 'dhcp6-options';
    return serverId === undefined || sameOctets(serverId, this.#serverId) ? null : 'dhcp6-other-server';
  }

  #answer(message: Dhcp6Message, address: Address): Answer | null {
    const { associations } = message;
    const held = associations.flatMap(addressesIn);
    const lease = associations.some(({ kind }) => kind === 'addresses') ? { lease: 'bound' as const } : {};
    switch (message.type) {
      case 'solicit':
        if (message.options.rapidCommit === undefined) {
          const options = { ...this.#configuration(message), preference: HIGHEST_PREFERENCE };
          return { type: 'advertise', options, associations: this.#give(associations, address) };
        }
        return {
          type: 'reply',
          options: { ...this.#configuration(message), rapidCommit: true },
          associations: this.#give(associations, address),
          ...lease,
        };
      case 'request':
      case 'renew':
      case 'rebind':
        return {
          type: 'reply',
          options: this.#configuration(message),
          associations: this.#give(associations, address),
          ...lease,
        };
      case 'confirm':
        // A device has one address wherever it is in the overlay: another one can't be right here (section 18.3.3).
        if (held.length === 0) return null;
        if (held.some((name) => name !== address)) return { type: 'reply', options: { status: statusCode.notOnLink } };
        return { type: 'reply', options: { status: statusCode.success }, lease: 'bound' };
      case 'release':
      case 'decline': {
        const event = message.type === 'release' ? 'released' : 'declined';
        const options = { status: statusCode.success };
        const unbound = associations
          .filter((association) => !addressesIn(association).includes(address))
          .map(noBinding);
        return { type: 'reply', options, associations: unbound, ...(held.includes(address) && { lease: event }) };
      }
      default:
        return { type: 'reply', options: { ...this.#configuration(message), ...this.#refreshTime(message) } };
    }
  }

  /** The address goes to the first association; others, and addresses that aren't the device's, get nothing. */
  #give(associations: readonly Association[], address: Address): Association[] {
    const { leaseSeconds } = this.#settings;
    const first = associations.find(({ kind }) => kind === 'addresses');
    return associations.map((association) => {
      const { kind, id } = association;
      if (kind === 'prefixes') return refused(kind, id, statusCode.noPrefix);
      // Lifetimes of zero: the client must give these up (section 18.3.4).
      const foreign = addressesIn(association)
        .filter((name) => name !== address || association !== first)
        .map((name) => ({ address: name, preferred: 0, valid: 0 }));
      if (association !== first) return { ...refused(kind, id, statusCode.noAddress), addresses: foreign };
      return {
        kind,
        id,
        // The times recommended in section 21.4.
        renewalTime: Math.floor(leaseSeconds * 0.5),
        rebindingTime: Math.floor(leaseSeconds * 0.8),
        addresses: [{ address, preferred: leaseSeconds, valid: leaseSeconds }, ...foreign],
        status: null,
      };
    });
  }

  #configuration({ options: { requested } }: Dhcp6Message): Dhcp6Options {
    const wants = (name: keyof typeof dhcp6Options): boolean => requested?.includes(dhcp6Options[name][0]) ?? true;
    const { gateway, domain } = this.#settings;
    return { ...(wants('dns') && { dns: [gateway] }), ...(wants('search') && { search: [domain] }) };
  }

  #refreshTime({ options: { requested } }: Dhcp6Message): Dhcp6Options {
    const asked = requested?.includes(dhcp6Options.refreshTime[0]) ?? false;
    return asked ? { refreshTime: Math.max(MIN_REFRESH, this.#settings.leaseSeconds) } : {};
  }

  #encode(message: Dhcp6Message, { type, options = {}, associations = [] }: Answer): Uint8Array {
    const { clientId } = message.options;
    return encodeDhcp6({
      type,
      transactionId: message.transactionId,
      options: { ...(clientId && { clientId }), serverId: this.#serverId, ...options },
      associations,
    });
  }
}

function addressesIn(association: Association): Address[] {
  return association.addresses.map(({ address }) => address);
}

function refused(kind: Association['kind'], id: number, status: StatusCode): Association {
  return { kind, id, renewalTime: 0, rebindingTime: 0, addresses: [], status };
}

function noBinding({ kind, id }: Association): Association {
  return refused(kind, id, statusCode.noBinding);
}
