/**
 * When router advertisements are sent (RFC 4861 section 6.2): soon after a device joins, on solicitation after a random
 * delay, periodically, and with lifetime 0 when the router stops. One schedule per device: an advertisement goes to one
 * device at a time, addressed to all nodes in IP and to that device in Ethernet (RFC 6085), so that devices that are not
 * admitted, or have no IPv6, get none.
 */

import type { Address, Prefix } from '../lib/ip.ts';
import type { Mac } from '../lib/mac.ts';
import type { Now } from '../lib/time.ts';
import type { RouterAdvertisement } from './ndp.ts';
import { noNdpOptions } from './ndp-options.ts';

/** RFC 4861 sections 6.2.1 and 10, in milliseconds. */
export const advertiserTiming = {
  minInterval: 200_000,
  maxInterval: 600_000,
  initialInterval: 16_000,
  initialCount: 3,
  minDelay: 3_000,
  maxSolicitedDelay: 500,
} as const;

export type RouterSettings = {
  /** Of the inner interface. */
  readonly mac: Mac;
  readonly gateway: Address;
  readonly range: Prefix;
  readonly domain: string;
  readonly mtu: number;
};

const HOP_LIMIT = 64;
/** Seconds: three of the longest intervals (RFC 4861 section 6.2.1, RFC 8106 section 5.1). */
const LIFETIME = (3 * advertiserTiming.maxInterval) / 1000;

/**
 * What is advertised: peers are on-link in the overlay's whole range, addresses come by DHCPv6 only. A final advertisement
 * takes the router and its name server back (RFC 4861 section 6.2.5), but not the range, which addresses are still of.
 */
export function advertisement(settings: RouterSettings, final: boolean): RouterAdvertisement {
  const { mac, gateway, range, domain, mtu } = settings;
  const lifetime = final ? 0 : LIFETIME;
  const information = {
    prefix: range,
    onLink: true,
    autonomous: false,
    validLifetime: LIFETIME,
    preferredLifetime: LIFETIME,
  };
  return {
    type: 'routerAdvertisement',
    hopLimit: HOP_LIMIT,
    managed: true,
    otherConfiguration: true,
    lifetime,
    reachableMs: 0,
    retransmitMs: 0,
    options: {
      ...noNdpOptions,
      sourceMac: mac,
      mtu,
      prefixes: [information],
      dnsServers: [{ lifetime, servers: [gateway] }],
      searchLists: [{ lifetime, domains: [domain] }],
    },
  };
}

export type AdvertiserAction =
  /** Send an advertisement; a final one withdraws the router (lifetime 0). */
  | { readonly do: 'advertise'; readonly to: Mac; readonly final: boolean }
  /** Call `tick` at this monotonic time; a later wake replaces an earlier one. */
  | { readonly do: 'wake'; readonly at: number };

type Schedule = {
  next: number;
  /** Of the last advertisement. */
  sent: number;
  /** Early advertisements still to come. */
  initial: number;
};

export class RouterAdvertiser {
  readonly #random: () => number;
  readonly #devices = new Map<Mac, Schedule>();

  /** `random` gives numbers in [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** A device with IPv6 is there from now on. */
  admit(mac: Mac, now: Now): AdvertiserAction[] {
    if (!this.#devices.has(mac)) {
      this.#devices.set(mac, {
        next: now.ms,
        sent: Number.NEGATIVE_INFINITY,
        initial: advertiserTiming.initialCount,
      });
    }
    return this.tick(now);
  }

  /** A device has left, or is served no longer: then it is told so. */
  dismiss(mac: Mac, tell: boolean): AdvertiserAction[] {
    const known = this.#devices.delete(mac);
    return known && tell ? [{ do: 'advertise', to: mac, final: true }] : [];
  }

  solicited(mac: Mac, now: Now): AdvertiserAction[] {
    const schedule = this.#devices.get(mac);
    if (schedule !== undefined) {
      const soon = now.ms + this.#random() * advertiserTiming.maxSolicitedDelay;
      schedule.next = Math.min(schedule.next, Math.max(soon, schedule.sent + advertiserTiming.minDelay));
    }
    return this.tick(now);
  }

  /** The router stops: every device is told. */
  withdraw(): AdvertiserAction[] {
    return [...this.#devices.keys()].flatMap((mac) => this.dismiss(mac, true));
  }

  tick(now: Now): AdvertiserAction[] {
    const actions: AdvertiserAction[] = [];
    let wake = Number.POSITIVE_INFINITY;
    for (const [mac, schedule] of this.#devices) {
      if (schedule.next <= now.ms) {
        actions.push({ do: 'advertise', to: mac, final: false });
        schedule.sent = now.ms;
        schedule.next = now.ms + this.#interval(schedule);
      }
      wake = Math.min(wake, schedule.next);
    }
    if (wake < Number.POSITIVE_INFINITY) actions.push({ do: 'wake', at: wake });
    return actions;
  }

  #interval(schedule: Schedule): number {
    const { minInterval, maxInterval, initialInterval } = advertiserTiming;
    const interval = minInterval + this.#random() * (maxInterval - minInterval);
    if (schedule.initial === 0) return interval;
    schedule.initial--;
    return schedule.initial === 0 ? interval : Math.min(initialInterval, interval);
  }
}
