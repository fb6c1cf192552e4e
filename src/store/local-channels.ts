/** Messages to whoever listens in the same process. */
export class LocalChannels {
  readonly #listeners = new Map<string, Set<(message: string) => void>>();

  publish(channel: string, message: string): void {
    for (const listener of this.#listeners.get(channel) ?? []) queueMicrotask(() => listener(message));
  }

  subscribe(channel: string, listener: (message: string) => void): () => void {
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
  }
}
