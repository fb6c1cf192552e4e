/** A node's standing with the NMS (protocol section 4.2): registration, keep-alive, goodbye. */

import { type Endpoint, familyOf } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Draft, Message, MessageOf } from '../../proto/codec.ts';
import { Flag, NoticeReason } from '../../proto/messages.ts';
import { type Options, Refusal } from '../../proto/options.ts';
import type { Channel, Sender } from '../channel.ts';
import { sendAll } from '../exchange.ts';
import type { MirrorDirectory } from '../mirror.ts';
import { dropped } from '../service.ts';
import type { Action } from './actions.ts';
import type { Changes } from './changes.ts';
import type { Directory } from './directory.ts';
import type { Notices } from './notices.ts';
import type { PresentNode } from './presence.ts';
import type { Replicas } from './replicas.ts';

export type StandingOptions = {
  readonly directory: Directory;
  readonly changes: Changes;
  readonly notices: Notices;
  readonly mirrors: MirrorDirectory;
  readonly replicas: Replicas;
  readonly forget: (node: PresentNode) => void;
};

export class Standing {
  readonly #options: StandingOptions;

  constructor(options: StandingOptions) {
    this.#options = options;
  }

  register(
    node: PresentNode,
    message: MessageOf<'registrationRequest'>,
    by: Sender,
    from: Endpoint,
    now: Now,
  ): Action[] {
    if (node.revoked) return this.#registerRevoked(node, message, by, from, now);
    const { changes, notices, mirrors } = this.#options;
    if (!node.registered) node.mayHaveUnknownPaths = (message.flags & Flag.first) === 0;
    const isNewLife = node.register(message, by, now);
    const lost = isNewLife ? changes.loses(node.nodeId, NoticeReason.peerGone, now) : [];
    const natFlag = node.natted(familyOf(from.address), now) ? 1 : 0;
    const answer: Draft = {
      type: 'registrationResponse',
      id: message.id,
      transactionId: message.transactionId,
      flags: Flag.response,
      body: { natFlag },
      options: { mapped: { endpoint: from }, mirrors: { list: mirrors.list(node.nodeId, from) } },
    };
    const owed = notices.returned(node.nodeId, now);
    return [{ do: 'count', name: 'registrations' }, ...seal(node.channel, answer, from), ...lost, ...owed];
  }

  /**
   * A daemon that is refused ends. If its device was enabled just now, word of it is under way: the register knows.
   * Where it may not be asked yet, nothing is said: the node repeats its request.
   */
  #registerRevoked(
    node: PresentNode,
    message: MessageOf<'registrationRequest'>,
    by: Sender,
    from: Endpoint,
    now: Now,
  ): Action[] {
    if (!node.mayReload(now)) return dropped('rate-limited', from);
    const { directory, changes } = this.#options;
    return directory.reload(node.nodeId, now, (found, later) => {
      if (found === 'busy') return dropped('rate-limited', from);
      if (found === null || found.state === 'disabled') {
        return refuseNode(node, message, 'registrationResponse', Refusal.disabled, from);
      }
      return [...changes.changed(found, later), ...this.register(node, message, by, from, later)];
    });
  }

  keepAlive(node: PresentNode, message: MessageOf<'keepAlive'>, from: Endpoint): Action[] {
    if (node.revoked) return refuseNode(node, message, 'ack', Refusal.disabled, from);
    if (!node.registered) {
      return reply(node.channel, message, 'ack', from, Flag.failure, { refusal: { reason: Refusal.offline } });
    }
    const options = { mapped: { endpoint: from } };
    return [{ do: 'count', name: 'keep-alives' }, ...reply(node.channel, message, 'ack', from, 0, options)];
  }

  /** A node says that it leaves. */
  noticed(node: PresentNode, message: MessageOf<'notice'>, by: Sender, from: Endpoint, now: Now): Action[] {
    const answer = reply(node.channel, message, 'ack', from);
    const { reason, subject } = message.body;
    if (reason !== NoticeReason.serviceStopping || subject !== node.nodeId) return answer;
    const { changes, replicas, forget } = this.#options;
    node.leave(by, message.sequence, now);
    const told = [...replicas.share(node, now), ...changes.loses(node.nodeId, NoticeReason.peerGone, now)];
    forget(node);
    return [...answer, ...told];
  }
}

/** The plain answer to a message. */
export function reply(
  channel: Channel | null,
  { id, transactionId }: Message,
  type: 'ack' | 'registrationResponse',
  to: Endpoint,
  flags = 0,
  options: Options = {},
): Action[] {
  const head = { id, transactionId, flags: Flag.response | flags, options };
  const answer: Draft = type === 'ack' ? { type, ...head, body: {} } : { type, ...head, body: { natFlag: 0 } };
  return seal(channel, answer, to);
}

function refuseNode(
  node: PresentNode,
  message: Message,
  type: 'ack' | 'registrationResponse',
  reason: number,
  from: Endpoint,
): Action[] {
  const refused: Action[] = [
    { do: 'drop', reason: 'login-refused', from },
    { do: 'log', level: 'info', message: 'device refused', fields: { fqdn: node.device.fqdn, type: message.type } },
  ];
  return [...refused, ...reply(node.channel, message, type, from, Flag.failure, { refusal: { reason } })];
}

function seal(channel: Channel | null, draft: Draft, to: Endpoint): Action[] {
  return sendAll(channel?.seal(draft) ?? [], to);
}
