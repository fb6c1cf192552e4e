/** The answer to a request of the peer or the relay: it came, and from where. */

import type { Message } from '../../proto/codec.ts';
import type { Options } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import type { Arrival, NodeContext } from './context.ts';

export function acknowledge(
  context: NodeContext,
  channel: Channel,
  { id, transactionId }: Message,
  arrival: Arrival,
  more: Options = {},
): void {
  const options = { mapped: { endpoint: arrival.from }, ...more };
  context.reply(channel, { type: 'ack', id, transactionId, body: {}, options }, arrival);
}
