/** What follows when the register changes or a node is gone: records and keys are replaced, the other ends are told. */

import { sameOctets } from '../../lib/bytes.ts';
import type { Device, RegisterAnswer, Service } from '../../lib/device.ts';
import type { Now } from '../../lib/time.ts';
import { NoticeReason } from '../../proto/messages.ts';
import type { Action } from './actions.ts';
import type { Directions } from './directions.ts';
import type { Directory } from './directory.ts';
import type { Notice, Notices } from './notices.ts';
import type { PathTable } from './paths.ts';
import type { PresentNode } from './presence.ts';
import type { Relays } from './relays.ts';
import type { Replicas } from './replicas.ts';

export type ChangesOptions = {
  readonly nodes: ReadonlyMap<string, PresentNode>;
  readonly directory: Directory;
  readonly directions: Directions;
  readonly paths: PathTable;
  readonly relays: Relays;
  /** Who is told of the register's services. */
  readonly listeners: readonly { update(services: readonly Service[]): void }[];
  readonly notices: Notices;
  readonly replicas: Replicas;
  readonly nextTicket: () => number;
};

export class Changes {
  readonly #options: ChangesOptions;
  /** Number of the latest change taken over; null before the first answer. */
  #revision: number | null = null;
  #changesTicket: number | null = null;
  #servicesTicket: number | null = null;
  #stale = false;

  constructor(options: ChangesOptions) {
    this.#options = options;
  }

  /** Asks the register for what is new, or does so once the question under way is answered. */
  refresh(): Action[] {
    this.#stale = true;
    return this.retry();
  }

  /** Asks again what could not be answered. */
  retry(): Action[] {
    if (!this.#stale || this.#changesTicket !== null || this.#servicesTicket !== null) return [];
    this.#stale = false;
    this.#changesTicket = this.#options.nextTicket();
    this.#servicesTicket = this.#options.nextTicket();
    // Before the first answer nothing is held that could have changed.
    const since = this.#revision ?? Number.MAX_SAFE_INTEGER;
    return [
      { do: 'load', ticket: this.#servicesTicket, query: { get: 'services' } },
      { do: 'load', ticket: this.#changesTicket, query: { get: 'changes', since } },
    ];
  }

  loaded(ticket: number, answer: RegisterAnswer | null, now: Now): Action[] {
    if (ticket === this.#servicesTicket) {
      this.#servicesTicket = null;
      if (answer?.got !== 'services') this.#stale = true;
      else for (const listener of this.#options.listeners) listener.update(answer.services);
      return [];
    }
    if (ticket !== this.#changesTicket) return [];
    this.#changesTicket = null;
    if (answer?.got !== 'changes') {
      this.#stale = true;
      return [];
    }
    const first = this.#revision === null;
    this.#revision = answer.revision;
    if (first) return [];
    return [
      ...answer.changed.flatMap((device) => this.changed(device, now)),
      ...answer.removed.flatMap(({ nodeId }) => this.#removed(nodeId, now)),
    ];
  }

  changed(device: Device, now: Now): Action[] {
    const { directory, nodes } = this.#options;
    const node = nodes.get(device.nodeId);
    const before = node?.device ?? directory.known(device.nodeId);
    directory.changed(device);
    if (before !== undefined && before.revision >= device.revision) return [];
    const told = before === undefined || concernsAdapter(before, device) ? this.#tellAdapters(before, device, now) : [];
    if (device.state === 'disabled') return [...told, ...this.#revoke(device.nodeId, now)];
    if (node?.revoked || before?.state === 'disabled')
      this.#options.notices.withdraw((notice) => ofRevocation(notice, device.nodeId));
    if (node !== undefined) {
      node.revoked = false;
      node.update(device);
    }
    const rekeyed = before?.handshakeKey != null && !sameKey(before.handshakeKey, device.handshakeKey);
    return rekeyed ? [...told, ...this.#disown(device.nodeId, now)] : told;
  }

  /** A node's paths end: their other ends and relays are told, of those that other replicas directed as well. */
  loses(subject: string, reason: number, now: Now): Action[] {
    const { paths, notices, replicas } = this.#options;
    const own = paths.of(subject);
    const peers = new Set(own.map(({ initiator, responder }) => (initiator === subject ? responder : initiator)));
    const told = own.flatMap(({ pathId, relay }) => {
      paths.remove(pathId);
      const closed = { reason: NoticeReason.pathClosed, subject: pathId };
      return relay === null ? [] : notices.push({ to: relay, ...closed }, now);
    });
    told.push(...[...peers].flatMap((to) => this.#tell({ to, reason, subject }, now)));
    const others = replicas.disconnect(subject, now, (members, later) =>
      members.filter((to) => !peers.has(to)).flatMap((to) => this.#tell({ to, reason, subject }, later)),
    );
    return [...told, ...others];
  }

  /** Tells a node where it was heard last, by whatever replica. */
  #tell(notice: Notice, now: Now): Action[] {
    const { directory, nodes, notices, replicas } = this.#options;
    const refreshed = (device: Device, at: Now): Action[] =>
      replicas.refresh(device, at, (later) => notices.push(notice, later));
    const node = nodes.get(notice.to);
    if (node !== undefined) return refreshed(node.device, now);
    return directory.find({ by: 'nodeId', value: notice.to }, true, now, (found, later) =>
      found === null || found === 'busy' ? notices.push(notice, later) : refreshed(found, later),
    );
  }

  #removed(nodeId: string, now: Now): Action[] {
    const { directory, nodes } = this.#options;
    const before = nodes.get(nodeId)?.device ?? directory.known(nodeId);
    directory.removed(nodeId);
    const told = before === undefined ? [] : this.#tellAdapters(before, undefined, now);
    return [...told, ...this.#revoke(nodeId, now)];
  }

  /** Disabled or removed: it and everybody who may have a path with it is told. */
  #revoke(subject: string, now: Now): Action[] {
    const { directions, nodes, notices } = this.#options;
    const node = nodes.get(subject);
    if (node?.revoked) return [];
    const told: Action[] = [{ do: 'log', level: 'info', message: 'device revoked', fields: { nodeId: subject } }];
    if (node !== undefined) {
      node.revoked = true;
      told.push(...directions.abandon(node, now));
      told.push(...notices.push({ to: subject, reason: NoticeReason.refused, subject }, now));
    }
    return [...told, ...this.#disown(subject, now)];
  }

  /** Whoever has the keys it had is not it any more: what others have, or have stored, of its paths counts no more. */
  #disown(subject: string, now: Now): Action[] {
    const { nodes, notices, relays } = this.#options;
    const reason = NoticeReason.peerRevoked;
    const told = this.loses(subject, reason, now);
    for (const to of relays.nodeIds) told.push(...notices.push({ to, reason, subject }, now));
    for (const { nodeId, mayHaveUnknownPaths } of nodes.values()) {
      if (mayHaveUnknownPaths && nodeId !== subject) told.push(...notices.push({ to: nodeId, reason, subject }, now));
    }
    return told;
  }

  /** The adapter that has, or had, a general node asks the controller again when told. */
  #tellAdapters(before: Device | undefined, after: Device | undefined, now: Now): Action[] {
    const { directory, notices } = this.#options;
    const adapters = new Set([before?.adapter, after?.adapter].filter((adapter) => adapter != null));
    return [...adapters].flatMap((value) =>
      directory.find({ by: 'deviceId', value }, true, now, (found, later) => {
        if (found === null || found === 'busy') return [];
        return notices.push({ to: found.nodeId, reason: NoticeReason.registerChanged, subject: found.nodeId }, later);
      }),
    );
  }
}

/** Told late, it would end the device or its new tunnels. */
function ofRevocation({ reason, subject }: Notice, nodeId: string): boolean {
  return subject === nodeId && (reason === NoticeReason.refused || reason === NoticeReason.peerRevoked);
}

function sameKey(a: Uint8Array, b: Uint8Array | null): boolean {
  return b !== null && sameOctets(a, b);
}

/** Whether an adapter must know: its general nodes' logins change their records too, but not what it acts on. */
function concernsAdapter(before: Device, after: Device): boolean {
  const fields = ['adapter', 'mac', 'auth', 'mode', 'state'] as const;
  return fields.some((field) => before[field] !== after[field]);
}
