/** Every reason for which a datagram or packet is dropped. Each is a counter name. */
export const dropReasons = [
  // envelope: header and clear options, before any key is used
  'short',
  'version',
  'type',
  'count',
  'length',
  'option-malformed',
  'option-critical',
  'option-repeated',
  'option-order',
  // body, after opening
  'body-malformed',
  'body-trailing',
  'part-malformed',
  'part-overflow',
  // channel
  'unknown-sender',
  'sender-kind',
  'no-instance',
  'tag',
  'replayed',
  'stale-instance',
  'unproven-address',
  'foreign-address',
  'rate-limited',
  'unexpected',
  'queue-full',
  // path
  'unknown-path',
  'unknown-epoch',
  'suite-refused',
  'handshake-failed',
  'certificate-invalid',
  'certificate-expired',
  'certificate-name',
  'certificate-address',
  'forbidden-address',
  // inner packets
  'inner-malformed',
  'inner-source',
  'inner-destination',
  'outer-loop',
  'no-route',
  'backlog-full',
  // services
  'login-refused',
  'direction-refused',
  'path-in-use',
  'relay-not-announced',
  'relay-unproven',
  'relay-limit',
] as const;

export type DropReason = (typeof dropReasons)[number];
