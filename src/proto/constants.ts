/** Constants of the protocol (section 3.3 and where noted). Milliseconds and octets. */

export const VERSION = 1;
export const HEADER_LENGTH = 32;
/** Largest signalling datagram (section 3.2): fits the smallest IPv6 MTU with room for outer headers. */
export const MAX_SIGNALLING = 1232;
/** The one message that is longer: it measures how large datagrams may be. Room for the largest inner packet. */
export const MAX_SIZE_PROBE = 9_100;
/** Outer packets that every path carries (RFC 8200 section 5), and what can be had of a larger one at most. */
export const BASE_MTU = 1_280;
/** Largest inner packets: by default 1,500 less the outer IPv6 and UDP headers and our own, 1,400. */
export const InnerMtu = { least: 1_280, usual: 1_400, most: 9_000 } as const;
/** Capsules that one inner packet may take. */
export const MAX_CAPSULE_PARTS = 15;
export const MAX_CERTIFICATE = 512;

/** Reassembly of parts (section 3.2): per sender, and octets over all senders. */
export const PART_MESSAGES = 4;
export const PART_OCTETS = 16_384;
export const PART_LIFETIME_MS = 5_000;
export const PART_TOTAL_OCTETS = 16 * 1024 * 1024;

export const KEEP_ALIVE_MS = 25_000;
export const KEEP_ALIVE_JITTER = 0.1;
/** Unanswered keep-alives after which a peer or service counts as lost. */
export const KEEP_ALIVE_LOST = 3;

export const RETRANSMIT_FIRST_MS = 200;
export const RETRANSMIT_MAX_MS = 3_200;
export const RETRANSMIT_TRIES = 6;

export const IDLE_PATH_MS = 15 * 60_000;
export const PRESENCE_MS = 90_000;

/** Rekeying (section 2.1). */
export const REKEY_AFTER_MS = 120_000;
export const REKEY_AFTER_PACKETS = 2 ** 31;
export const REJECT_AFTER_MS = 180_000;
export const REJECT_AFTER_PACKETS = 2 ** 32 - 1;
export const OLD_KEY_MIN_MS = 2_000;
export const OLD_KEY_MAX_MS = 10_000;
export const HANDSHAKE_INTERVAL_MS = 100;

export const SIGNALLING_WINDOW = 1_024;
export const CAPSULE_WINDOW = 16_384;

export const CERTIFICATE_DAYS = 7;
/** How far two clocks may differ before a certificate counts as outside its validity. */
export const CERTIFICATE_SKEW_MS = 5 * 60_000;
export const ENROLMENT_TOKEN_MS = 24 * 3_600_000;

/** Packets per peer that wait for a tunnel. */
export const WAITING_PACKETS = 64;

export const Suite = { cbcMd5: 1, aes256Gcm: 2, chacha20Poly1305: 3 } as const;
export type Suite = (typeof Suite)[keyof typeof Suite];
export const suiteNames = { 1: 'cbc-md5', 2: 'aes-256-gcm', 3: 'chacha20-poly1305' } as const;

/** Label of the TLS exporter value that a login signature covers (RFC 5705, RFC 8446 section 7.5). */
export const LOGIN_EXPORTER_LABEL = 'EXPORTER-cyphonic-login';

/** The same for an adapter's proof to the controller. */
export const CONTROLLER_EXPORTER_LABEL = 'EXPORTER-cyphonic-controller';

/** Loopback TCP ports where services answer for their metrics and health. */
export const MetricsPort = { cloud: 7450, as: 7450, nms: 7451, trs: 7452 } as const;

export const Port = { as: 7440, nms: 7441, trs: 7442, trsTls: 443, controller: 7443, node: 7444 } as const;
