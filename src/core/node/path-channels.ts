/** The two channels of a path: with the peer, and with the TRS, which knows a key of its own only. */

import { relayKey } from '../../crypto/kdf.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import type { NodeContext } from './context.ts';
import type { Direction } from './direction.ts';

/** Who speaks on a channel, and how many of its lives at once: the same for all paths. */
const accepted = {
  [SenderKind.initiator]: new Map([[SenderKind.initiator, 1]]),
  [SenderKind.responder]: new Map([[SenderKind.responder, 1]]),
  [SenderKind.trs]: new Map([[SenderKind.trs, 2]]),
};

export function peerKindOf({ role }: Direction) {
  return role === 'initiator' ? SenderKind.responder : SenderKind.initiator;
}

export function peerChannel(context: NodeContext, direction: Direction): Channel {
  return open(context, direction, direction.tunnelKey, peerKindOf(direction));
}

export function relayChannel(context: NodeContext, direction: Direction): Channel {
  return open(context, direction, relayKey(context.primitives, direction.tunnelKey), SenderKind.trs);
}

function open(
  context: NodeContext,
  { pathId: id, suite, role, fresh: freshKey }: Direction,
  baseKey: Uint8Array,
  from: keyof typeof accepted,
): Channel {
  const kind = role === 'initiator' ? SenderKind.initiator : SenderKind.responder;
  return context.channel({
    id,
    suite,
    kind,
    baseKey,
    accept: accepted[from],
    proveAddress: false,
    freshKey,
  });
}
