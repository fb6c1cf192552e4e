/** Notices to nodes and services: each is repeated until its ACK, a bounded number is under way at once. */

import type { Now } from '../../lib/time.ts';
import type { Action } from './actions.ts';

export type Notice = {
  /** NodeID of the node or service it goes to. */
  readonly to: string;
  readonly reason: number;
  /** A NodeID or PathID. */
  readonly subject: string;
};

const MAX_UNDER_WAY = 256;
const MAX_QUEUED = 100_000;
const MAX_OWED_RECEIVERS = 10_000;
const MAX_OWED_EACH = 64;

export class Notices {
  /** Nothing to send = the receiver is not there. */
  readonly #send: (notice: Notice, now: Now) => Action[];
  /** Ends the repetitions of those under way. */
  readonly #stop: (which: (notice: Notice) => boolean) => void;
  /** Waiting ones by content, so that none is there twice. */
  readonly #queue = new Map<string, Notice>();
  readonly #underWay = new Map<string, Notice>();
  /** What receivers that were silent or away are told when they are back. */
  readonly #owed = new Map<string, Notice[]>();

  constructor(send: (notice: Notice, now: Now) => Action[], stop: (which: (notice: Notice) => boolean) => void) {
    this.#send = send;
    this.#stop = stop;
  }

  push(notice: Notice, now: Now): Action[] {
    const key = keyOf(notice);
    if (this.#underWay.has(key) || this.#queue.size >= MAX_QUEUED) return [];
    this.#queue.set(key, notice);
    return this.#pump(now);
  }

  acknowledged(notice: Notice, now: Now): Action[] {
    this.#underWay.delete(keyOf(notice));
    return this.#pump(now);
  }

  failed(notice: Notice, now: Now): Action[] {
    this.#owe(notice);
    return this.acknowledged(notice, now);
  }

  /** What was to be said is no longer true. */
  withdraw(obsolete: (notice: Notice) => boolean): void {
    for (const [key, notice] of this.#queue) if (obsolete(notice)) this.#queue.delete(key);
    for (const [key, notice] of this.#underWay) if (obsolete(notice)) this.#underWay.delete(key);
    for (const [to, owed] of this.#owed) {
      const left = owed.filter((notice) => !obsolete(notice));
      if (left.length > 0) this.#owed.set(to, left);
      else this.#owed.delete(to);
    }
    this.#stop(obsolete);
  }

  /** A receiver is back. */
  returned(to: string, now: Now): Action[] {
    const owed = this.#owed.get(to) ?? [];
    this.#owed.delete(to);
    return owed.flatMap((notice) => this.push(notice, now));
  }

  #pump(now: Now): Action[] {
    const actions: Action[] = [];
    for (const [key, notice] of this.#queue) {
      if (this.#underWay.size >= MAX_UNDER_WAY) break;
      this.#queue.delete(key);
      const sent = this.#send(notice, now);
      if (sent.length > 0) this.#underWay.set(key, notice);
      else this.#owe(notice);
      actions.push(...sent);
    }
    return actions;
  }

  #owe(notice: Notice): void {
    const owed = (this.#owed.get(notice.to) ?? []).filter((other) => keyOf(other) !== keyOf(notice));
    this.#owed.delete(notice.to);
    this.#owed.set(notice.to, [...owed, notice].slice(-MAX_OWED_EACH));
    if (this.#owed.size > MAX_OWED_RECEIVERS) this.#owed.delete(this.#owed.keys().next().value!);
  }
}

function keyOf({ to, reason, subject }: Notice): string {
  return `${to} ${reason} ${subject}`;
}
