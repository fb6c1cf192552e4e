/** What the machines of services have in common. */

import type { Endpoint } from '../lib/ip.ts';
import type { DropReason } from '../proto/drop.ts';
import type { Action } from './actions.ts';
import type { Opened } from './channel.ts';
import { sendAll } from './exchange.ts';

export function dropped(reason: DropReason, from: Endpoint): Action[] {
  return [{ do: 'drop', reason, from }];
}

/** What a datagram that held no whole message leads to. */
export function unopened(opened: Exclude<Opened, { kind: 'message' }>, from: Endpoint): Action[] {
  if (opened.kind === 'drop') return dropped(opened.reason, from);
  if (opened.kind === 'part') return [];
  return [{ do: 'count', name: 'challenges' }, ...sendAll(opened.datagrams, from)];
}

/** Timers are asked for in steps of this, so that many requests share one wake-up (ms). */
const TIMER_STEP_MS = 10;

/** The one timer of a machine, asked for again only when its time changed. */
export class Alarm {
  #at: number | null = null;

  /** It went off, early or late. */
  rang(): void {
    this.#at = null;
  }

  set(due: number): Action[] {
    const at = Math.ceil(due / TIMER_STEP_MS) * TIMER_STEP_MS;
    if (at === this.#at) return [];
    this.#at = at;
    return [{ do: 'wake', at }];
  }
}
