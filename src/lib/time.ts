/** A reading of both clocks, handed to every state machine: machines have none of their own. */
export type Now = {
  /** Monotonic milliseconds; for intervals and deadlines. */
  readonly ms: number;
  /** Unix milliseconds; for certificates and expiry only, as it may jump. */
  readonly wall: number;
};

/** Reads both clocks of this machine. */
export function readClock(): Now {
  return { ms: performance.now(), wall: Date.now() };
}
