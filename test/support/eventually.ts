import { vi } from 'vitest';

/** Waits until `work` throws no more, longer than the second that Vitest takes for enough. */
export const eventually = <T>(work: () => T | Promise<T>): Promise<T> => vi.waitFor(work, { timeout: 20_000 });
