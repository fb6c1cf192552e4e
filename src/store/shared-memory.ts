/** What replicas share, in the memory of one process. */

import { LocalChannels } from './local-channels.ts';
import type { Shared } from './shared.ts';

type Kept<T> = { readonly value: T; readonly until: number };

/** Expired records are looked for after so many additions. */
const SWEEP_EVERY = 1_024;

export class MemoryShared extends LocalChannels implements Shared {
  readonly #clock: () => number;
  readonly #records = new Map<string, Kept<string>>();
  readonly #sets = new Map<string, Kept<Set<string>>>();
  #additions = 0;
  readonly reachable = true;
  readonly alone = false;

  constructor(clock: () => number = () => performance.now()) {
    super();
    this.#clock = clock;
  }

  async keep(key: string, value: string, lifeMs: number): Promise<void> {
    this.#records.set(key, { value, until: this.#clock() + lifeMs });
    this.#sweep();
  }

  async claim(key: string, value: string, lifeMs: number): Promise<boolean> {
    if (this.#alive(this.#records, key) !== undefined) return false;
    await this.keep(key, value, lifeMs);
    return true;
  }

  async recall(keys: readonly string[]): Promise<(string | null)[]> {
    return keys.map((key) => this.#alive(this.#records, key) ?? null);
  }

  async include(set: string, member: string, lifeMs: number): Promise<void> {
    const value = this.#alive(this.#sets, set) ?? new Set();
    this.#sets.set(set, { value: value.add(member), until: this.#clock() + lifeMs });
    this.#sweep();
  }

  async members(set: string): Promise<string[]> {
    return [...(this.#alive(this.#sets, set) ?? [])];
  }

  async exclude(set: string, member: string): Promise<void> {
    this.#sets.get(set)?.value.delete(member);
  }

  async take(set: string): Promise<string[]> {
    const taken = [...(this.#alive(this.#sets, set) ?? [])];
    this.#sets.delete(set);
    return taken;
  }

  override async close(): Promise<void> {
    this.#records.clear();
    this.#sets.clear();
    await super.close();
  }

  #alive<T>(from: ReadonlyMap<string, Kept<T>>, key: string): T | undefined {
    const kept = from.get(key);
    return kept !== undefined && kept.until > this.#clock() ? kept.value : undefined;
  }

  #sweep(): void {
    this.#additions += 1;
    if (this.#additions % SWEEP_EVERY !== 0) return;
    const now = this.#clock();
    for (const map of [this.#records, this.#sets]) {
      for (const [key, { until }] of map) if (until <= now) map.delete(key);
    }
  }
}
