/** The two channels of a path: with the peer, and with the TRS, which knows a key of its own only. */

import { relayKey } from '../../crypto/kdf.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import type { NodeContext } from './context.ts';
import type { Direction } from './direction.ts';

const TRS_INSTANCES = 2;

export function peerKindOf({ role }: Direction): SenderKind {
  return role === 'initiator' ? SenderKind.responder : SenderKind.initiator;
}

export function peerChannel(context: NodeContext, direction: Direction): Channel {
  return open(context, direction, direction.tunnelKey, peerKindOf(direction), 1);
}

export function relayChannel(context: NodeContext, direction: Direction): Channel {
  return open(context, direction, relayKey(context.primitives, direction.tunnelKey), SenderKind.trs, TRS_INSTANCES);
}

function open(
  context: NodeContext,
  { pathId: id, suite, role, fresh: freshKey }: Direction,
  baseKey: Uint8Array,
  from: SenderKind,
  instances: number,
): Channel {
  const kind = role === 'initiator' ? SenderKind.initiator : SenderKind.responder;
  return context.channel({
    id,
    suite,
    kind,
    baseKey,
    accept: new Map([[from, instances]]),
    proveAddress: false,
    freshKey,
  });
}
