/** The embedded register: the rules over tables that answer at once, so that a change is one transaction of this process. */

import type {
  AuditAction,
  AuditEntry,
  Device,
  Network,
  NewDevice,
  RegisterAnswer,
  RegisterChange,
  RegisterQuery,
  SaveResult,
  Service,
} from '../lib/device.ts';
import { type Author, LOCAL, type NewSecret, type Page, type Register } from './register.ts';
import { type Operations, Rules, type Steps } from './rules.ts';

/** Where an embedded register keeps its records. */
export interface Tables extends Operations {
  /** Runs `work` as one transaction: all of it is kept when this returns, nothing if it throws. */
  transaction<T>(work: () => T): T;
  /** Calls back when another process may have changed something; returns the way to stop. */
  watchOthers(callback: () => void, intervalMs: number): () => void;
  close(): void;
}

export class EmbeddedRegister implements Register {
  readonly #tables: Tables;
  readonly #rules: Rules;
  /** Who wants to hear of changes → how to stop looking for those of other processes. */
  readonly #watchers = new Map<() => void, () => void>();

  constructor(tables: Tables, network: Network, clock?: () => number, newNodeId?: () => string) {
    this.#tables = tables;
    this.#rules = new Rules(network, clock, newNodeId);
  }

  async query(query: RegisterQuery): Promise<RegisterAnswer> {
    return this.answer(query);
  }

  async change(change: RegisterChange): Promise<SaveResult> {
    return this.apply(change);
  }

  /** `query` at once, for simulations. */
  answer(query: RegisterQuery): RegisterAnswer {
    return this.#run(this.#rules.answer(query));
  }

  /** `change` at once, for simulations. */
  apply(change: RegisterChange): SaveResult {
    if (change.set === 'seen') return this.#tables.transaction(() => this.#run(this.#rules.apply(change)));
    return this.#commit(this.#rules.apply(change));
  }

  async add(given: NewDevice, by?: Author): Promise<Device> {
    return this.#commit(this.#rules.add(given, by));
  }

  async remove(deviceId: string, by?: Author): Promise<void> {
    this.#commit(this.#rules.remove(deviceId, by));
  }

  async setEnabled(deviceId: string, enabled: boolean, by?: Author): Promise<Device> {
    return this.#commit(this.#rules.setEnabled(deviceId, enabled, by));
  }

  async renewSecret(deviceId: string, secret: NewSecret | null, by?: Author): Promise<Device> {
    return this.#commit(this.#rules.renewSecret(deviceId, secret, by));
  }

  async list(page?: Page): Promise<readonly Device[]> {
    return this.#run(this.#rules.list(page));
  }

  async putService(service: Service, by?: Author): Promise<void> {
    this.#commit(this.#rules.putService(service, by));
  }

  async note(action: AuditAction, subject: string, by: Author = LOCAL): Promise<void> {
    this.#commit(this.#rules.note(action, subject, by));
  }

  async audit(before: number | null, limit: number): Promise<readonly AuditEntry[]> {
    return this.#run(this.#rules.audit(before, limit));
  }

  async revision(): Promise<number> {
    return this.#tables.revision();
  }

  watch(callback: (revision: number) => void, intervalMs: number): () => void {
    let known = this.#tables.revision();
    const check = () => {
      const revision = this.#tables.revision();
      if (revision === known) return;
      known = revision;
      callback(revision);
    };
    const stop = this.#tables.watchOthers(check, intervalMs);
    this.#watchers.set(check, stop);
    return () => {
      stop();
      this.#watchers.delete(check);
    };
  }

  async close(): Promise<void> {
    for (const stop of this.#watchers.values()) stop();
    this.#watchers.clear();
    this.#tables.close();
  }

  /** A transaction that may have changed something: this process's watchers look at once. */
  #commit<T>(steps: Steps<T>): T {
    const result = this.#tables.transaction(() => this.#run(steps));
    queueMicrotask(() => {
      for (const check of this.#watchers.keys()) check();
    });
    return result;
  }

  #run<T>(steps: Steps<T>): T {
    const tables = this.#tables as { [K in keyof Operations]: (...words: unknown[]) => unknown };
    for (let step = steps.next(); ; step = steps.next(tables[step.value.operation](...step.value.words))) {
      if (step.done) return step.value;
    }
  }
}
