/** Runs one state machine in simulated time: its one timer, its stored state, its counters. */

import type { Action } from '../../src/core/actions.ts';
import type { Machine } from '../../src/core/machine.ts';
import type { Counters } from '../../src/lib/counters.ts';
import type { RegisterAnswer, RegisterChange, RegisterQuery, SaveResult } from '../../src/lib/device.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import type { Now } from '../../src/lib/time.ts';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** A register that answers at once, with null if it is not there; the shell adds the delay. */
export type SimRegister = {
  answer(query: RegisterQuery): RegisterAnswer | null;
  apply(change: RegisterChange): SaveResult | null;
};

export type ShellOptions<Extra> = {
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: Counters;
  readonly register?: SimRegister;
  readonly send: (to: Endpoint, datagram: Uint8Array) => void;
  readonly perform: (action: Extra) => void;
  /** What a machine's log says, for drawings. */
  readonly note?: (text: string) => void;
};

/** A database answers after this long at most (ms). */
const REGISTER_MS = 20;

const common = new Set<string>(['send', 'wake', 'drop', 'log', 'count', 'load', 'save'] satisfies Action['do'][]);

function isCommon(action: { readonly do: string }): action is Action {
  return common.has(action.do);
}

export class SimShell<M extends Machine<Extra>, Extra extends { readonly do: string }> {
  readonly machine: M;
  readonly #options: ShellOptions<Extra>;
  /** Machines of different hosts began to count at different times. */
  readonly #monotonic: number;
  /** How far this host's wall clock is off (ms). */
  wallError = 0;
  #timer = 0;
  #stopped = false;

  constructor(machine: M, options: ShellOptions<Extra>) {
    this.machine = machine;
    this.#options = options;
    this.#monotonic = options.random.whole(0, 2 ** 31);
  }

  get now(): Now {
    const { ms, wall } = this.#options.clock;
    return { ms: this.#monotonic + ms, wall: wall + this.wallError };
  }

  input(give: (machine: M, now: Now) => readonly (Action | Extra)[]): void {
    if (this.#stopped) return;
    for (const action of give(this.machine, this.now)) {
      if (isCommon(action)) this.#perform(action);
      else this.#options.perform(action);
    }
  }

  receive(datagram: Uint8Array, from: Endpoint): void {
    this.input((machine, now) => machine.receive(datagram, from, now));
  }

  /** As after `kill -9`: nothing happens any more. */
  stop(): void {
    this.#stopped = true;
  }

  #perform(action: Action): void {
    const { counters, send, note } = this.#options;
    switch (action.do) {
      case 'send':
        send(action.to, action.datagram);
        break;
      case 'wake':
        this.#wake(action.at);
        break;
      case 'drop':
        counters.add(`drop-${action.reason}`);
        note?.(`dropped: ${action.reason}`);
        break;
      case 'log':
        if (action.level !== 'debug') note?.(`${action.message} ${JSON.stringify(action.fields ?? {})}`);
        break;
      case 'count':
        counters.add(action.name);
        break;
      case 'load':
        this.#later((register) => {
          const answer = register.answer(action.query);
          this.input((machine, now) => machine.loaded?.(action.ticket, answer, now) ?? []);
        });
        break;
      case 'save':
        this.#later((register) => {
          const result = register.apply(action.change);
          this.input((machine, now) => machine.saved?.(action.ticket, result, now) ?? []);
        });
        break;
    }
  }

  #wake(at: number): void {
    const timer = ++this.#timer;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#options.clock.at(at - this.#monotonic, () => {
      if (timer === this.#timer) this.input((machine, now) => machine.tick(now));
    });
  }

  #later(ask: (register: SimRegister) => void): void {
    const { clock, random, register } = this.#options;
    if (register !== undefined) clock.after(random.between(0, REGISTER_MS), () => ask(register));
  }
}
