/** Runs a state machine: carries out its actions in order, keeps its one timer, brings it what comes back. */

import type { Action } from '../core/actions.ts';
import { Buckets } from '../core/limits.ts';
import type { Machine } from '../core/machine.ts';
import type { Counters } from '../lib/counters.ts';
import type { RegisterAnswer, RegisterChange, RegisterQuery, SaveResult } from '../lib/device.ts';
import { type Endpoint, formatEndpoint } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import type { Now } from '../lib/time.ts';
import type { DropReason } from '../proto/drop.ts';
import { readClock } from '../sys/clock.ts';

/** What a machine's load and save actions need of the register. */
export type RegisterAccess = {
  query(query: RegisterQuery): Promise<RegisterAnswer>;
  change(change: RegisterChange): Promise<SaveResult>;
};

/** A machine that hears of the network by other inputs than datagrams has no `receive`. */
type Driven<Extra> = Pick<Machine<Extra>, 'tick' | 'loaded' | 'saved'> & Partial<Pick<Machine<Extra>, 'receive'>>;

export type ShellOptions<Extra> = {
  readonly machine: Driven<Extra>;
  readonly send: (to: Endpoint, datagram: Uint8Array) => void;
  readonly counters: Counters;
  readonly log: Log;
  /** Absent: this machine neither loads nor saves. */
  readonly register?: RegisterAccess;
  /** Carries out the actions that only this machine has. */
  readonly perform?: (action: Extra) => void;
};

/** One line for each drop reason at most so often, however many datagrams a flood brings (ms). */
const DROP_LINE_MS = 10_000;
/** Lines of one wording; a device that is refused, or refuses, may bring them about as fast as it can send. */
const LOG_LINES = { burst: 200, perSecond: 1 };
/** Longest delay a timer of the runtime takes (ms). */
const MAX_TIMER_MS = 2 ** 31 - 1;

const common = new Set<string>(['send', 'wake', 'drop', 'log', 'count', 'load', 'save'] satisfies Action['do'][]);

function isCommon(action: { readonly do: string }): action is Action {
  return common.has(action.do);
}

export class Shell<Extra extends { readonly do: string } = never> {
  readonly #options: ShellOptions<Extra>;
  readonly #dropLines = new Map<DropReason, { since: number; unsaid: number }>();
  readonly #lines = new Buckets(LOG_LINES);
  #timer: NodeJS.Timeout | undefined;
  #registerLost = false;
  #stopped = false;

  constructor(options: ShellOptions<Extra>) {
    this.#options = options;
  }

  receive(datagram: Uint8Array, from: Endpoint): void {
    this.input((machine, now) => machine.receive?.(datagram, from, now) ?? []);
  }

  /**
   * Gives the machine an input and carries out what it asks for. A fault of ours that one input uncovers is logged and
   * counted, but does not end the process: else a single datagram could.
   */
  input(give: (machine: Driven<Extra>, now: Now) => readonly (Action | Extra)[]): void {
    if (this.#stopped) return;
    try {
      this.run(give(this.#options.machine, readClock()));
    } catch (error) {
      this.#options.counters.add('internal-error');
      this.#options.log.error('internal error', { error: error instanceof Error ? error.stack : String(error) });
    }
  }

  run(actions: readonly (Action | Extra)[]): void {
    for (const action of actions) {
      if (isCommon(action)) this.#perform(action);
      else this.#options.perform?.(action);
    }
  }

  /** Whether the register answered the last time it was asked. */
  get registerAnswers(): boolean {
    return !this.#registerLost;
  }

  /** No input reaches the machine any more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #perform(action: Action): void {
    const { send, counters, log, register } = this.#options;
    switch (action.do) {
      case 'send':
        send(action.to, action.datagram);
        break;
      case 'wake':
        this.#wake(action.at);
        break;
      case 'drop':
        counters.add(`drop-${action.reason}`);
        this.#sayDrop(action.reason, action.from);
        break;
      case 'log':
        if (this.#lines.take(action.message, readClock().ms)) log[action.level](action.message, action.fields);
        else counters.add('log-lines-left-out');
        break;
      case 'count':
        counters.add(action.name);
        if (action.ms !== undefined) counters.time(action.name, action.ms);
        break;
      case 'load':
        this.#bring(register?.query(action.query), (m, answer, now) => m.loaded?.(action.ticket, answer, now) ?? []);
        break;
      case 'save':
        this.#bring(register?.change(action.change), (m, result, now) => m.saved?.(action.ticket, result, now) ?? []);
        break;
    }
  }

  #wake(at: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped || at === Number.POSITIVE_INFINITY) return;
    const delay = Math.min(MAX_TIMER_MS, Math.max(0, Math.ceil(at - readClock().ms)));
    this.#timer = setTimeout(() => this.input((machine, now) => machine.tick(now)), delay);
  }

  #sayDrop(reason: DropReason, from: Endpoint | undefined): void {
    const { log } = this.#options;
    const fields = { reason, ...(from !== undefined && { from: formatEndpoint(from) }) };
    const now = readClock().ms;
    const line = this.#dropLines.get(reason);
    if (line !== undefined && now - line.since < DROP_LINE_MS) {
      line.unsaid += 1;
      log.debug('dropped', fields);
      return;
    }
    this.#dropLines.set(reason, { since: now, unsaid: 0 });
    log.warn('dropped', line === undefined || line.unsaid === 0 ? fields : { ...fields, alsoUnsaid: line.unsaid });
  }

  #bring<T>(
    asked: Promise<T> | undefined,
    give: (machine: Driven<Extra>, answer: T | null, now: Now) => readonly (Action | Extra)[],
  ): void {
    const settle = (answer: T | null, error?: unknown): void => {
      this.#sayRegister(answer === null, error);
      this.input((machine, now) => give(machine, answer, now));
    };
    asked?.then(settle, (error: unknown) => settle(null, error));
  }

  /** One line when the register stops answering, one when it is back. */
  #sayRegister(lost: boolean, error: unknown): void {
    if (lost === this.#registerLost || this.#stopped) return;
    this.#registerLost = lost;
    const { log } = this.#options;
    if (lost) log.error('the register does not answer', { error: error instanceof Error ? error.message : null });
    else log.info('the register answers again');
  }
}
