/**
 * What the register said of devices, kept as long as it is worth it. Datagrams of strangers can name any NodeID, so what
 * they make us ask the register has a budget of its own: they wait among themselves, never before authenticated nodes.
 */

import type { Device, DeviceSelector, RegisterAnswer } from '../../lib/device.ts';
import type { Now } from '../../lib/time.ts';
import type { Action } from './actions.ts';

/** The record, null = not registered, `busy` = too many questions are open, or the register doesn't answer. */
export type Found = Device | null | 'busy';
type Then = (found: Found, now: Now) => Action[];

const MAX_RECORDS = 100_000;
const MAX_ABSENT = 4_096;
/** How long "not registered" stands; a change of that device ends it at once. */
const ABSENT_MS = 2_000;
const MAX_OPEN = 512;
const MAX_WAITING = 8;
const LOADS_PER_SECOND = 2_000;
const LOAD_TIMEOUT_MS = 5_000;

type Budget = { open: number; credit: number; creditAt: number };
type Load = {
  readonly key: string;
  readonly selector: DeviceSelector;
  readonly budget: Budget;
  readonly deadline: number;
  readonly waiting: Then[];
};

export class Directory {
  readonly #nextTicket: () => number;
  readonly #records = new Map<string, Device>();
  /** NodeID by `by value`. */
  readonly #names = new Map<string, string>();
  readonly #absent = new Map<string, number>();
  readonly #loads = new Map<number, Load>();
  readonly #tickets = new Map<string, number>();
  readonly #trusted: Budget = { open: 0, credit: LOADS_PER_SECOND, creditAt: 0 };
  readonly #strangers: Budget = { open: 0, credit: LOADS_PER_SECOND, creditAt: 0 };

  constructor(nextTicket: () => number) {
    this.#nextTicket = nextTicket;
  }

  /** Questions to the register that are open. */
  get open(): number {
    return this.#loads.size;
  }

  /** Records and absences held. */
  get size(): number {
    return this.#records.size + this.#absent.size;
  }

  known(nodeId: string): Device | undefined {
    return this.#records.get(nodeId);
  }

  /** Goes on with `then`, at once if the record is known, else when the register has answered. */
  find(selector: DeviceSelector, trusted: boolean, now: Now, then: Then): Action[] {
    const key = keyOf(selector);
    const record = this.#records.get(this.#names.get(key) ?? '');
    if (record !== undefined) return then(record, now);
    if ((this.#absent.get(key) ?? 0) > now.ms) return then(null, now);
    return this.#load(selector, trusted, now, then);
  }

  /** Asks the register even if the record is known. */
  reload(nodeId: string, now: Now, then: Then): Action[] {
    return this.#load({ by: 'nodeId', value: nodeId }, false, now, then);
  }

  /** Null if the ticket is none of ours. */
  loaded(ticket: number, answer: RegisterAnswer | null, now: Now): Action[] | null {
    const load = this.#take(ticket);
    if (load === undefined) return null;
    if (answer?.got !== 'device') return settle(load, 'busy', now);
    if (answer.device === null) this.#forgetAbsent(load.key, now);
    else this.#keep(answer.device);
    return settle(load, answer.device, now);
  }

  /** Takes over a changed record. */
  changed(device: Device): void {
    for (const key of keysOf(device)) this.#absent.delete(key);
    if (this.#records.has(device.nodeId)) this.#keep(device);
  }

  removed(nodeId: string): void {
    const record = this.#records.get(nodeId);
    if (record === undefined) return;
    this.#records.delete(nodeId);
    for (const key of keysOf(record)) this.#names.delete(key);
  }

  /** Gives up questions that were never answered. */
  tick(now: Now): Action[] {
    const late = [...this.#loads].filter(([, load]) => load.deadline <= now.ms).map(([ticket]) => ticket);
    return late.flatMap((ticket) => settle(this.#take(ticket)!, 'busy', now));
  }

  #load(selector: DeviceSelector, trusted: boolean, now: Now, then: Then): Action[] {
    const key = keyOf(selector);
    const underWay = this.#loads.get(this.#tickets.get(key) ?? -1);
    if (underWay !== undefined) {
      if (underWay.waiting.length >= MAX_WAITING) return then('busy', now);
      underWay.waiting.push(then);
      return [];
    }
    const budget = trusted ? this.#trusted : this.#strangers;
    if (!spend(budget, now)) return then('busy', now);
    const ticket = this.#nextTicket();
    this.#loads.set(ticket, { key, selector, budget, deadline: now.ms + LOAD_TIMEOUT_MS, waiting: [then] });
    this.#tickets.set(key, ticket);
    return [{ do: 'load', ticket, query: { get: 'device', selector } }];
  }

  #take(ticket: number): Load | undefined {
    const load = this.#loads.get(ticket);
    if (load === undefined) return undefined;
    this.#loads.delete(ticket);
    this.#tickets.delete(load.key);
    load.budget.open -= 1;
    return load;
  }

  #keep(device: Device): void {
    const known = this.#records.get(device.nodeId);
    // An answer may have been on its way while a change overtook it.
    if (known !== undefined && known.revision > device.revision) return;
    this.removed(device.nodeId);
    this.#records.set(device.nodeId, device);
    for (const key of keysOf(device)) {
      this.#names.set(key, device.nodeId);
      this.#absent.delete(key);
    }
    if (this.#records.size > MAX_RECORDS) this.removed(this.#records.keys().next().value!);
  }

  #forgetAbsent(key: string, now: Now): void {
    this.removed(this.#names.get(key) ?? '');
    this.#absent.delete(key);
    this.#absent.set(key, now.ms + ABSENT_MS);
    if (this.#absent.size > MAX_ABSENT) this.#absent.delete(this.#absent.keys().next().value!);
  }
}

function keyOf({ by, value }: DeviceSelector): string {
  return `${by} ${value}`;
}

function keysOf(device: Device): string[] {
  const keys = [`nodeId ${device.nodeId}`, `deviceId ${device.deviceId}`, `fqdn ${device.fqdn}`];
  for (const vip of [device.vip4, device.vip6]) if (vip !== null) keys.push(`vip ${vip}`);
  return keys;
}

function settle(load: Load, found: Found, now: Now): Action[] {
  return load.waiting.flatMap((then) => then(found, now));
}

function spend(budget: Budget, now: Now): boolean {
  const earned = ((now.ms - budget.creditAt) / 1000) * LOADS_PER_SECOND;
  budget.credit = Math.min(LOADS_PER_SECOND, budget.credit + earned);
  budget.creditAt = now.ms;
  if (budget.open >= MAX_OPEN || budget.credit < 1) return false;
  budget.credit -= 1;
  budget.open += 1;
  return true;
}
