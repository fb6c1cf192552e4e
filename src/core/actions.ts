/**
 * What state machines ask of the shell around them. Machines have no I/O, clock or randomness of their own:
 * every input takes the time and returns a list of actions, carried out in order.
 */

import type { RegisterChange, RegisterQuery } from '../lib/device.ts';
import type { Endpoint } from '../lib/ip.ts';
import type { LogLevel } from '../lib/log.ts';
import type { DropReason } from '../proto/drop.ts';

export type Action =
  /** Send one signalling datagram. The shell picks the socket by the address family. */
  | { readonly do: 'send'; readonly to: Endpoint; readonly datagram: Uint8Array }
  /** Call `tick` at this monotonic time (ms) at the latest; a later wake replaces an earlier one. */
  | { readonly do: 'wake'; readonly at: number }
  /** A datagram or packet was dropped: count it. */
  | { readonly do: 'drop'; readonly reason: DropReason; readonly from?: Endpoint }
  | {
      readonly do: 'log';
      readonly level: LogLevel;
      readonly message: string;
      readonly fields?: Record<string, unknown>;
    }
  /** Count an event that is no drop; `ms` = how long it took, for a histogram of that name. */
  | { readonly do: 'count'; readonly name: string; readonly ms?: number }
  /** Ask the register; comes back as `loaded(ticket, answer)`. */
  | { readonly do: 'load'; readonly ticket: number; readonly query: RegisterQuery }
  /** Change the register; comes back as `saved(ticket, result)`. Nothing is answered for before that. */
  | { readonly do: 'save'; readonly ticket: number; readonly change: RegisterChange };
