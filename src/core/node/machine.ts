/** One overlay identity: registration, names, paths. Without I/O, clock or randomness of its own. */

import { raise } from '../../lib/errors.ts';
import type { Address, Endpoint } from '../../lib/ip.ts';
import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { Candidate } from '../../proto/options.ts';
import type { NodeAction, NodeOptions, NodeSnapshot, ResolveQuestion, Session } from './types.ts';

export class NodeMachine {
  readonly #options: NodeOptions;

  constructor(options: NodeOptions) {
    this.#options = options;
  }

  /** After a login, and again after a renewed one: existing paths stay. */
  session(_session: Session, _now: Now): NodeAction[] {
    return this.#todo();
  }

  /** The host's own usable addresses with the UDP port: at start and after every network change. */
  localAddresses(_candidates: readonly Candidate[], _now: Now): NodeAction[] {
    return this.#todo();
  }

  receive(_datagram: Uint8Array, _from: Endpoint, _now: Now): NodeAction[] {
    return this.#todo();
  }

  tick(_now: Now): NodeAction[] {
    return this.#todo();
  }

  /** Comes back as `answer` within 4 s. */
  resolve(_ticket: number, _question: ResolveQuestion, _now: Now): NodeAction[] {
    return this.#todo();
  }

  /** A packet without a route: it waits for its path. */
  packet(_packet: Uint8Array, _destination: Address, _now: Now): NodeAction[] {
    return this.#todo();
  }

  /** Data plane events of one path. */
  opened(_pathId: string, _epoch: number, _from: Endpoint, _now: Now): NodeAction[] {
    return this.#todo();
  }

  moved(_pathId: string, _from: Endpoint, _now: Now): NodeAction[] {
    return this.#todo();
  }

  traffic(_totals: PathTraffic, _now: Now): NodeAction[] {
    return this.#todo();
  }

  /** One round trip to a peer; comes back as `answer`. */
  probe(_ticket: number, _peerNodeId: string, _now: Now): NodeAction[] {
    return this.#todo();
  }

  /** Says goodbye to all peers; the machine is of no use afterwards. */
  stop(_now: Now): NodeAction[] {
    return this.#todo();
  }

  snapshot(_now: Now): NodeSnapshot {
    return this.#todo();
  }

  #todo(): never {
    return raise('BUG_UNREACHABLE', { what: `node machine (${this.#options.suite})` });
  }
}
