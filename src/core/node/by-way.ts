/** What all requests to the peer of a path by one of its ways have in common. */

import { Flag } from '../../proto/messages.ts';
import type { Path } from './path.ts';
import type { Way } from './ways.ts';

/** Whom to ask and who may answer. */
export function byWay({ channel, peerKind: from }: Path, { endpoint: to }: Way) {
  return { channel, to, from, expects: 'ack' } as const;
}

/** How the message begins. */
export function headerBy({ id }: Path, { origin }: Way) {
  return { id, flags: origin === 'relay' ? Flag.relayed : 0 };
}
