/** What an NMS asks of its shell: beside the common actions those that concern the other replicas of it. */

import type { Endpoint } from '../../lib/ip.ts';
import type { Action as CommonAction } from '../actions.ts';

/** Shared records are made again by whoever keeps them: nobody waits for `keep` and `include`. */
export type ReplicaAction =
  /** Keep a record for so long, in place of the one before. */
  | { readonly do: 'keep'; readonly key: string; readonly value: string; readonly lifeMs: number }
  /** Add to a set, which lives for so long after the latest addition. */
  | { readonly do: 'include'; readonly set: string; readonly member: string; readonly lifeMs: number }
  /** Ask for records; comes back as `recalled(ticket, values)`. */
  | { readonly do: 'recall'; readonly ticket: number; readonly keys: readonly string[] }
  /** Empty a set; its members come back as `recalled(ticket, members)`. */
  | { readonly do: 'take'; readonly ticket: number; readonly set: string }
  /** Give a datagram to the replica whose request it answers, which takes it by `passed`. */
  | { readonly do: 'pass'; readonly replica: number; readonly datagram: Uint8Array; readonly from: Endpoint }
  /** Let another replica send a datagram. */
  | { readonly do: 'sendFrom'; readonly replica: number; readonly to: Endpoint; readonly datagram: Uint8Array };

export type Action = CommonAction | ReplicaAction;
