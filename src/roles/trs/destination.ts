/** Where a datagram that came over TLS goes: to this TRS, to the network's NMS, or nowhere else (never an open proxy). */

import { readEnvelope } from '../../proto/codec.ts';
import type { DropReason } from '../../proto/drop.ts';
import { HeaderOffset, plausible } from '../../proto/header.ts';
import { Flag } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';

/** `relayed`: for the far end of a path, so that there may be many of them. */
export type Destination = 'relayed' | 'trs' | 'nms';

export function destinationOf(datagram: Uint8Array): { readonly to: Destination } | { readonly drop: DropReason } {
  const implausible = plausible(datagram, 0, datagram.length);
  if (implausible !== null) return { drop: implausible };
  if ((datagram[HeaderOffset.flags]! & Flag.relayed) !== 0) return { to: 'relayed' };
  const envelope = readEnvelope(datagram);
  if (typeof envelope === 'string') return { drop: envelope };
  switch (envelope.options.instance?.kind) {
    case SenderKind.node:
      return { to: 'nms' };
    case SenderKind.initiator:
    case SenderKind.responder:
      return { to: 'trs' };
    default:
      return { drop: envelope.options.instance === undefined ? 'no-instance' : 'sender-kind' };
  }
}

/** Whether a service gave more than a challenge, which it gives to whoever repeats what somebody else once sent. */
export function isAnswer(datagram: Uint8Array): boolean {
  if (plausible(datagram, 0, datagram.length) !== null) return false;
  if ((datagram[HeaderOffset.flags]! & Flag.relayed) !== 0) return true;
  const envelope = readEnvelope(datagram);
  return typeof envelope !== 'string' && envelope.options.challenge === undefined;
}
