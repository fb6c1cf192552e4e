/** How far the relays are: what of it the NMS is told. */

import { sameEndpoint } from '../../lib/ip.ts';
import type { RelayTime } from '../../proto/options.ts';

/** Whether no round trip has changed by more than 20 % or 10 ms, whichever is larger. */
export function isAboutTheSame(before: readonly RelayTime[], after: readonly RelayTime[]): boolean {
  const isClose = (a: number | null, b: number | null): boolean =>
    a === null || b === null ? a === b : Math.abs(a - b) <= Math.max(10, 0.2 * Math.max(a, b));
  const isKnown = (time: RelayTime): boolean =>
    before.some((other) => sameEndpoint(other, time) && isClose(other.rttMs, time.rttMs));
  return before.length === after.length && after.every(isKnown);
}
