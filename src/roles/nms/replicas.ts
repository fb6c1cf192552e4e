/** What an NMS shares with its replicas, carried out on the store they all use. */

import { randomInt, randomUUID } from 'node:crypto';
import type { Action, ReplicaAction } from '../../core/nms/actions.ts';
import type { NmsMachine } from '../../core/nms/machine.ts';
import type { Counters } from '../../lib/counters.ts';
import { type Endpoint, endpointIn } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { Now } from '../../lib/time.ts';
import type { Shared } from '../../store/shared.ts';
import { nmsRecords } from '../nms-records.ts';

/** A datagram and where it came from, or is to go to. */
type Passed = { readonly endpoint: Endpoint; readonly datagram: Uint8Array; readonly isToSend: boolean };

const LOOK_MS = 1_000;
/** As many as one octet tells apart. */
const NUMBERS = 256;
/** A replica that died, or cannot reach the store for so long, has lost its number. */
const CLAIM_MS = 10_000;
/** For good. */
const MARK_MS = 366 * 24 * 3_600_000;

/** Gives the machine an input and carries out what it asks for. */
export type Input = (give: (now: Now) => readonly Action[]) => void;

export class Replica {
  /** Drawn by lot until it is nobody else's. */
  #number: number = randomInt(NUMBERS);
  readonly #name = randomUUID();
  readonly #shared: Shared;
  readonly #prefix: string;
  readonly #counters: Counters;
  readonly #log: Log;
  #lost = false;
  #mark: string | null = null;

  constructor(shared: Shared, nodeId: string, counters: Counters, log: Log) {
    this.#shared = shared;
    this.#prefix = nmsRecords(nodeId);
    this.#counters = counters;
    this.#log = log;
  }

  get number(): number {
    return this.#number;
  }

  /** Hears what others pass on, and whether the store was emptied; returns the way to stop. */
  async listen(
    machine: NmsMachine,
    input: Input,
    send: (to: Endpoint, datagram: Uint8Array) => void,
  ): Promise<() => void> {
    // Nobody passes anything on, or empties it.
    if (this.#shared.alone) return () => {};
    const hear = (message: string): void => {
      const passed = readPassed(message);
      if (passed === null) this.#counters.add('passed-unreadable');
      else if (passed.isToSend) send(passed.endpoint, passed.datagram);
      else input((now) => machine.passed(passed.datagram, passed.endpoint, now));
    };
    let heard = this.#number;
    let deafen = await this.#shared.subscribe(this.#channelOf(heard), hear);
    const look = async (): Promise<void> => {
      await this.#hold();
      if (heard !== this.#number) {
        deafen();
        heard = this.#number;
        deafen = await this.#shared.subscribe(this.#channelOf(heard), hear);
      }
      await this.#look(machine, input);
    };
    const timer = setInterval(() => void look().catch(() => {}), LOOK_MS);
    await look().catch(() => {});
    return () => {
      clearInterval(timer);
      deafen();
    };
  }

  /** Claims the number, again and again; one that somebody else has is given up for another. */
  async #hold(): Promise<void> {
    const key = (): string => `${this.#prefix}number ${this.#number}`;
    if ((await this.#shared.recall([key()]))[0] === this.#name) {
      return this.#shared.keep(key(), this.#name, CLAIM_MS);
    }
    for (let tries = 0; tries < NUMBERS && !(await this.#shared.claim(key(), this.#name, CLAIM_MS)); tries++) {
      this.#counters.add('replica-numbers-taken');
      this.#number = (this.#number + 1) % NUMBERS;
    }
  }

  /** A mark says whether the store still is the one of before: what was kept elsewhere is kept anew. */
  async #look(machine: NmsMachine, input: Input): Promise<void> {
    const key = `${this.#prefix}mark`;
    const [found = null] = await this.#shared.recall([key]);
    const mark = found ?? randomUUID();
    if (found === null) await this.#shared.keep(key, mark, MARK_MS);
    if (this.#mark !== null && mark !== this.#mark) {
      this.#counters.add('shared-emptied');
      input(() => machine.sharedEmptied());
    }
    this.#mark = mark;
  }

  perform(action: ReplicaAction, machine: NmsMachine, input: Input): void {
    switch (action.do) {
      case 'keep':
        this.#tell(this.#shared.keep(this.#prefix + action.key, action.value, action.lifeMs));
        break;
      case 'include':
        this.#tell(this.#shared.include(this.#prefix + action.set, action.member, action.lifeMs));
        break;
      case 'pass':
        this.#pass(action.replica, { endpoint: action.from, datagram: action.datagram, isToSend: false });
        break;
      case 'sendFrom':
        this.#pass(action.replica, { endpoint: action.to, datagram: action.datagram, isToSend: true });
        break;
      case 'recall':
        this.#ask(this.#shared.recall(action.keys.map((key) => this.#prefix + key)), action.ticket, machine, input);
        break;
      case 'take':
        this.#ask(this.#shared.take(this.#prefix + action.set), action.ticket, machine, input);
        break;
    }
  }

  #pass(replica: number, passed: Passed): void {
    this.#tell(this.#shared.publish(this.#channelOf(replica), writePassed(passed)));
  }

  #channelOf(number: number): string {
    return `${this.#prefix}replica ${number}`;
  }

  #tell(told: Promise<unknown>): void {
    told.then(
      () => this.#say(false),
      (error: unknown) => this.#say(true, error),
    );
  }

  #ask(asked: Promise<(string | null)[]>, ticket: number, machine: NmsMachine, input: Input): void {
    const settle = (values: (string | null)[] | null, error?: unknown): void => {
      this.#say(values === null, error);
      input((now) => machine.recalled(ticket, values, now));
    };
    asked.then(settle, (error: unknown) => settle(null, error));
  }

  /** One line when the store stops answering, one when it is back. */
  #say(lost: boolean, error?: unknown): void {
    if (lost) this.#counters.add('shared-failed');
    if (lost === this.#lost) return;
    this.#lost = lost;
    const why = error instanceof Error ? error.message : null;
    if (lost) this.#log.error('what replicas share cannot be reached: each goes on with what it knows', { why });
    else this.#log.info('what replicas share can be reached again');
  }
}

function writePassed({ endpoint, datagram, isToSend }: Passed): string {
  return JSON.stringify({ ...endpoint, datagram: Buffer.from(datagram).toString('base64'), isToSend });
}

function readPassed(message: string): Passed | null {
  try {
    const parsed = JSON.parse(message) as Record<string, unknown>;
    const { datagram, isToSend } = parsed;
    const endpoint = endpointIn(parsed);
    if (endpoint === null || typeof datagram !== 'string') return null;
    const octets = new Uint8Array(Buffer.from(datagram, 'base64'));
    return { endpoint, datagram: octets, isToSend: isToSend === true };
  } catch {
    return null;
  }
}
