/** A reading of both clocks, handed to every state machine: machines have none of their own. */
export type Now = {
  /** Monotonic milliseconds, of a suspended machine too; for intervals and deadlines. */
  readonly ms: number;
  /** Unix milliseconds; for certificates and expiry only, as it may jump. */
  readonly wall: number;
};
