/** The key schedule of signalling (protocol section 2.3) and between services (2.4). */

import { concat } from '../lib/bytes.ts';
import type { Device } from '../lib/device.ts';
import { idOctets } from '../proto/header.ts';
import type { SenderKind } from '../proto/options.ts';
import type { KeyPair, Primitives } from './primitives.ts';

const KEY_LENGTH = 32;
const signalling = Buffer.from('cyphonic signalling');
const service = Buffer.from('cyphonic service');
const relay = Buffer.from('cyphonic relay');
const path = Buffer.from('cyphonic path');
const mirror = Buffer.from('cyphonic mirror');
const noSalt = new Uint8Array(0);

/** The message key of one sender, in one of its lives, under a Common, Tunnel or service key. */
export function signallingKey(
  primitives: Primitives,
  baseKey: Uint8Array,
  kind: SenderKind,
  instance: string,
): Uint8Array {
  return primitives.hkdf(baseKey, idOctets(instance), concat(signalling, Uint8Array.of(kind)), KEY_LENGTH);
}

/** The base key between two services, from their registered X25519 keys; null if the peer's key is degenerate. */
export function serviceKey(primitives: Primitives, own: KeyPair, peerKey: Uint8Array): Uint8Array | null {
  const secret = primitives.x25519(own.privateKey, peerKey);
  if (secret === null) return null;
  const ends = [own.publicKey, peerKey].sort(Buffer.compare);
  return primitives.hkdf(secret, noSalt, concat(service, ...ends), KEY_LENGTH);
}

/**
 * What a TRS gets of a path: enough to know the two ends by, useless for what they say to each other under the Tunnel Key.
 */
export function relayKey(primitives: Primitives, tunnelKey: Uint8Array): Uint8Array {
  return primitives.hkdf(tunnelKey, noSalt, relay, KEY_LENGTH);
}

/** What an NMS's keys of a path depend on beside its own: one end of it. */
export type PathEnd = Pick<Device, 'nodeId' | 'commonKey' | 'pendingCommonKey'>;

/**
 * Tunnel Key and Temp Key of a path, derived so that every replica of an NMS gives the same ones: a request that is
 * repeated to another replica leads to the same path. Common Keys go in, so that what this gave before both ends logged
 * in anew is beyond whoever learns the NMS's key later.
 */
export function pathKeys(
  primitives: Primitives,
  nmsKey: Uint8Array,
  pathId: string,
  initiator: PathEnd,
  responder: PathEnd,
): { tunnelKey: Uint8Array; temporaryKey: Uint8Array } {
  const ends = [initiator, responder];
  const secrets = ends.map(({ commonKey, pendingCommonKey }) => commonKey ?? pendingCommonKey ?? noSalt);
  const info = concat(path, ...ends.map(({ nodeId }) => idOctets(nodeId)));
  const keys = primitives.hkdf(concat(nmsKey, ...secrets), idOctets(pathId), info, 2 * KEY_LENGTH);
  return { tunnelKey: keys.slice(0, KEY_LENGTH), temporaryKey: keys.slice(KEY_LENGTH) };
}

/**
 * The key by which a service tells a node where it sees it, from the service key of the NMS that grants it and the
 * service: neither has to remember it.
 */
export function mirrorKey(primitives: Primitives, grant: Uint8Array, nodeId: string): Uint8Array {
  return primitives.hkdf(grant, idOctets(nodeId), mirror, KEY_LENGTH);
}
