/** The paths of the way out as the control plane wants them: keys, endpoints, sizes, routes. */

import type { PathCommand } from '../lib/path.ts';
import { encodeSockaddr } from '../sys/sockaddr.ts';
import { endKey, retireKey } from './keys.ts';
import { type SendKey, SendPath } from './send-path.ts';
import { PathTable, RouteTable } from './table.ts';
import { TRAFFIC_RECEIVED, type TrafficCounters } from './tally.ts';

export class SendPaths {
  readonly routes = new RouteTable<SendPath>();
  readonly #paths = new PathTable<SendPath>();
  readonly #traffic: TrafficCounters;

  constructor(traffic: TrafficCounters) {
    this.#traffic = traffic;
  }

  get(pathId: string): SendPath | undefined {
    return this.#paths.get(pathId);
  }

  /** Carries out a command; `place` is where the path's counters are. */
  command(command: Exclude<PathCommand, { readonly do: 'sendPackets' }>, place: number): void {
    if (command.do === 'route') {
      const target = command.pathId === null ? null : (this.#paths.get(command.pathId) ?? null);
      this.routes.set(command.local, command.peer, target);
      return;
    }
    if (command.do === 'installPath') {
      this.#remove(command.pathId);
      this.#traffic.clear(place, 0, TRAFFIC_RECEIVED);
      this.#paths.set(command.pathId, new SendPath(command.pathId, place, command.local, command.peer));
      return;
    }
    const path = this.#paths.get(command.pathId);
    if (path === undefined) return;
    switch (command.do) {
      case 'installKey': {
        retireKey(path, command.epoch);
        const aead = endKey(command.suite, command.sendKey);
        const key: SendKey = {
          epoch: command.epoch,
          aead,
          partial: command.partialChecksum === true,
          ecn: command.ecn === true,
          parts: command.parts === true,
          next: 1,
        };
        path.keys = path.keys.concat(key);
        if (command.activate) path.active = key;
        break;
      }
      case 'activateKey':
        path.active = path.key(command.epoch) ?? path.active;
        break;
      case 'retireKey':
        retireKey(path, command.epoch);
        break;
      case 'setEndpoint':
        path.destination = command.endpoint === null ? null : encodeSockaddr(command.endpoint);
        path.relayed = command.relayed;
        path.also = command.also === undefined ? null : encodeSockaddr(command.also);
        // What was sealed for the old endpoint is sent there; new datagrams begin a new message.
        path.message = -1;
        path.alsoMessage = -1;
        break;
      case 'setMtu':
        path.mtu = command.mtu;
        break;
      case 'removePath':
        this.#remove(command.pathId);
    }
  }

  #remove(pathId: string): void {
    const path = this.#paths.get(pathId);
    if (path === undefined) return;
    for (const { epoch } of path.keys) retireKey(path, epoch);
    this.routes.removeIf(path.local, path.peer, path);
    this.#paths.remove(pathId);
  }
}
