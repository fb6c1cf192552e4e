/** What a login asks for on its way: of the register, or of whoever computes password hashes. */

import type { Device, RegisterAnswer, SaveResult } from '../../lib/device.ts';
import type { Endpoint } from '../../lib/ip.ts';
import type { Action } from '../actions.ts';

export type AsAction =
  /** Compare this password with the stored hash, at the same cost if that is null; comes back as `hashed(ticket, …)`. */
  | { readonly do: 'hash'; readonly ticket: number; readonly password: Uint8Array; readonly hash: string | null }
  /** Somebody we know is at the other end of this connection. */
  | { readonly do: 'believe'; readonly connection: Endpoint }
  /** End this connection once everything was sent. */
  | { readonly do: 'close'; readonly connection: Endpoint };

/** What a login waits for: an action that carries a ticket; and what comes back under it. */
export type Question = (ticket: number) => Action | AsAction;
export type Reply = RegisterAnswer | SaveResult | boolean | null;
export type Steps<T> = Generator<Question, T, Reply>;

/** Each is undefined if the register could not be asked. */
export function* loadDevice(deviceId: string): Steps<Device | null | undefined> {
  const answer = yield* load({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
  return answer?.got === 'device' ? answer.device : undefined;
}

export function* loadCredentials(deviceId: string) {
  const answer = yield* load({ get: 'credentials', deviceId });
  return answer?.got === 'credentials' ? answer.credentials : undefined;
}

export function* loadServices() {
  const answer = yield* load({ get: 'services' });
  return answer?.got === 'services' ? answer.services : undefined;
}

function* load(query: Extract<Action, { do: 'load' }>['query']): Steps<RegisterAnswer | null> {
  return (yield (ticket) => ({ do: 'load', ticket, query })) as RegisterAnswer | null;
}
