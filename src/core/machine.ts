import type { RegisterAnswer, SaveResult } from '../lib/device.ts';
import type { Endpoint } from '../lib/ip.ts';
import type { Now } from '../lib/time.ts';
import type { Action } from './actions.ts';

/**
 * A state machine that speaks the protocol: inputs in, actions out. `Extra` are actions of its own beside the common ones.
 * Only machines that load and save have the last two inputs; a null answer says that the register could not be asked.
 */
export interface Machine<Extra = never> {
  receive(datagram: Uint8Array, from: Endpoint, now: Now): (Action | Extra)[];
  tick(now: Now): (Action | Extra)[];
  loaded?(ticket: number, answer: RegisterAnswer | null, now: Now): (Action | Extra)[];
  saved?(ticket: number, result: SaveResult | null, now: Now): (Action | Extra)[];
}
