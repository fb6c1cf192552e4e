/** The paths of the way in as the control plane wants them: keys and sizes. */

import { ReplayWindow } from '../crypto/replay.ts';
import type { PathCommand } from '../lib/path.ts';
import { CAPSULE_WINDOW } from '../proto/constants.ts';
import { endKey, retireKey } from './keys.ts';
import { ReceivePath } from './receive-path.ts';
import { PathTable } from './table.ts';
import { TRAFFIC_END, TRAFFIC_RECEIVED, type TrafficCounters } from './tally.ts';

export class ReceivePaths {
  readonly #paths = new PathTable<ReceivePath>();
  readonly #traffic: TrafficCounters;

  constructor(traffic: TrafficCounters) {
    this.#traffic = traffic;
  }

  /** The path whose PathID stands at `at`. */
  find(view: DataView, at: number): ReceivePath | undefined {
    return this.#paths.find(view, at);
  }

  /** Carries out a command; `place` is where the path's counters are. */
  command(command: PathCommand, place: number): void {
    if (command.do === 'installPath') {
      this.#remove(command.pathId);
      this.#traffic.clear(place, TRAFFIC_RECEIVED, TRAFFIC_END);
      this.#paths.set(command.pathId, new ReceivePath(command.pathId, place, command.local, command.peer));
      return;
    }
    const path = command.do === 'route' ? undefined : this.#paths.get(command.pathId);
    if (path === undefined) return;
    switch (command.do) {
      case 'installKey': {
        retireKey(path, command.epoch);
        const aead = endKey(command.suite, command.receiveKey);
        const window = new ReplayWindow(CAPSULE_WINDOW);
        path.keys = path.keys.concat({ epoch: command.epoch, aead, window, opened: false });
        break;
      }
      case 'retireKey':
        retireKey(path, command.epoch);
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
    this.#paths.remove(pathId);
  }
}
