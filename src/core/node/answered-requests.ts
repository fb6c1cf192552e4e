/** Tunnel Requests that were answered lately, of one path alone: another peer may copy what names a request. */

import { sameOctets } from '../../lib/bytes.ts';
import type { Now } from '../../lib/time.ts';
import type { Draft, MessageOf } from '../../proto/codec.ts';
import type { Sender } from '../channel.ts';
import { Answers } from '../exchange.ts';

type Request = MessageOf<'tunnelRequest'>;

export class AnsweredRequests {
  readonly #answers = new Answers();
  /** Of the last one. */
  #endKey = new Uint8Array(0);

  /** The answer given before, `other` if only the number is that of a request answered before, null if it is a new one. */
  find(sender: Sender, { transactionId, body }: Request): Draft | 'other' | null {
    const given = this.#answers.find(sender, transactionId);
    if (given === undefined || given === 'pending') return null;
    return sameOctets(body.endKey, this.#endKey) ? given : 'other';
  }

  remember(sender: Sender, { transactionId, body }: Request, answer: Draft, now: Now): void {
    this.#endKey = body.endKey.slice();
    this.#answers.remember(sender, transactionId, answer, now);
  }
}
