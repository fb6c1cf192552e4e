/** Route selection as responder (protocol section 4.3): what the NMS tells us of devices that want to reach us. */

import type { Now } from '../../lib/time.ts';
import type { Draft, MessageOf } from '../../proto/codec.ts';
import { Flag } from '../../proto/messages.ts';
import { Refusal } from '../../proto/options.ts';
import type { Channel, Sender } from '../channel.ts';
import type { Arrival, NodeContext } from './context.ts';
import { readDirection } from './direction.ts';
import type { Directory } from './directory.ts';
import type { Registrar } from './registrar.ts';

export class Responder {
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;

  constructor(context: NodeContext, registrar: Registrar, directory: Directory) {
    this.#context = context;
    this.#registrar = registrar;
    this.#directory = directory;
  }

  /** Opens the path and confirms, once it is bound to its relay if it starts through one; repeated, it is confirmed again. */
  directed(message: MessageOf<'routeDirection'>, sender: Sender, channel: Channel, arrival: Arrival, now: Now): void {
    const { answers } = this.#context;
    const given = answers.find(sender, message.transactionId);
    if (given === 'pending') return;
    if (given !== undefined) {
      this.#context.reply(channel, given, arrival);
      return;
    }
    answers.remember(sender, message.transactionId, 'pending', now);
    const confirm = (refusal: Refusal | null, at: Now): void => {
      // A new Common Key meanwhile: the NMS asks again under that one.
      if (channel !== this.#registrar.channel) return;
      const confirmation: Draft = {
        type: 'routeDirectionConfirmation',
        id: message.body.pathId,
        transactionId: message.transactionId,
        flags: refusal === null ? 0 : Flag.failure,
        body: {},
        ...(refusal !== null && { options: { refusal: { reason: refusal } } }),
      };
      answers.remember(sender, message.transactionId, confirmation, at);
      this.#context.reply(channel, confirmation, arrival);
    };

    const direction = readDirection(this.#context, message, 'responder', now);
    if (typeof direction === 'string') {
      this.#context.refuse(direction, { initiator: message.body.initiatorFqdn }, arrival.from);
      confirm(direction === 'suite-refused' ? Refusal.suite : Refusal.badCredentials, now);
      return;
    }
    this.#directory.shown(direction.peer, now);
    const peer = this.#directory.learn(direction.peer, now);
    const opened = peer === null ? null : this.#directory.open(peer, direction, now);
    if (opened === null) {
      this.#context.drop('path-in-use', arrival.from);
      confirm(peer === null ? Refusal.overloaded : Refusal.pathIdInUse, now);
    } else if (opened.isNew) {
      opened.path.begin(now, { bindingSettled: (at) => confirm(null, at) });
    } else {
      confirm(null, now);
    }
  }
}
