/** What the way in knows of a path. */

import type { ReplayWindow } from '../crypto/replay.ts';
import { wordsOf } from '../lib/bytes.ts';
import type { Address } from '../lib/ip.ts';
import { LARGEST_PACKET, type VirtualAddresses } from '../lib/path.ts';
import { Ip4, Ip6, isIp6 } from '../net/packet.ts';
import type { DropReason } from '../proto/drop.ts';
import type { EvpAead } from '../sys/evp.ts';
import { SOCKADDR_ROOM } from '../sys/sockaddr.ts';
import type { Assembly } from './assembly.ts';
import { without } from './keys.ts';
import { pairOf } from './table.ts';

export type ReceiveKey = {
  readonly epoch: number;
  readonly aead: EvpAead;
  readonly window: ReplayWindow;
  opened: boolean;
};

export class ReceivePath {
  readonly pathId: string;
  readonly place: number;
  /** The words of source and destination that inner packets must have, as they stand side by side in the header. */
  readonly pair4: readonly number[] | null;
  readonly pair6: readonly number[] | null;
  keys: readonly ReceiveKey[] = [];
  /** Where the control plane knows capsules to come from. */
  readonly from = wordsOf(new Uint8Array(SOCKADDR_ROOM));
  /** Of our packets to the peer; theirs to us are as large as may be. */
  mtu = LARGEST_PACKET;
  /** Once a packet comes in parts. */
  assembly: Assembly | null = null;
  movedAt = Number.NEGATIVE_INFINITY;

  constructor(pathId: string, place: number, local: VirtualAddresses, peer: VirtualAddresses) {
    this.pathId = pathId;
    this.place = place;
    this.pair4 = pairWords(peer.vip4, local.vip4);
    this.pair6 = pairWords(peer.vip6, local.vip6);
  }

  key(epoch: number): ReceiveKey | undefined {
    const { keys } = this;
    for (let i = 0; i < keys.length; i++) if (keys[i]!.epoch === epoch) return keys[i];
    return undefined;
  }

  retire(epoch: number): void {
    this.keys = without(this.keys, epoch);
  }

  /** Protocol section 2.4: from the peer's virtual address to ours, nothing else. */
  misaddressed(view: DataView, inner: number): DropReason | null {
    const v6 = isIp6(view, inner);
    const pair = v6 ? this.pair6 : this.pair4;
    if (pair === null) return 'inner-source';
    const source = inner + (v6 ? Ip6.source : Ip4.source);
    const middle = pair.length / 2;
    for (let i = 0; i < middle; i++) if (view.getInt32(source + 4 * i) !== pair[i]) return 'inner-source';
    for (let i = middle; i < pair.length; i++) {
      if (view.getInt32(source + 4 * i) !== pair[i]) return 'inner-destination';
    }
    return null;
  }
}

function pairWords(source: Address | null, destination: Address | null): number[] | null {
  const pair = pairOf(source, destination);
  return pair === null ? null : wordsOf(pair);
}
