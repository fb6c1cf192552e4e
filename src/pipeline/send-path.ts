/** What the way out knows of a path. */

import { wordsOf } from '../lib/bytes.ts';
import { LARGEST_PACKET, type VirtualAddresses } from '../lib/path.ts';
import { Ecn, trafficClass } from '../net/packet.ts';
import type { EvpAead } from '../sys/evp.ts';
import { without } from './keys.ts';

export type SendKey = {
  readonly epoch: number;
  readonly aead: EvpAead;
  readonly partial: boolean;
  readonly ecn: boolean;
  readonly parts: boolean;
  next: number;
};

export class SendPath {
  readonly pathId: string;
  readonly place: number;
  /** The PathID, as words. */
  readonly id: readonly number[];
  readonly local: VirtualAddresses;
  readonly peer: VirtualAddresses;
  /** One or two, so copied and not grown: an array that grows has room for seventeen. */
  keys: readonly SendKey[] = [];
  active: SendKey | null = null;
  destination: Uint8Array | null = null;
  relayed = false;
  /** Where every datagram goes as well. */
  also: Uint8Array | null = null;
  /** The largest inner packet that gets through in one piece. */
  mtu = LARGEST_PACKET;
  /** The message of the current batch that this path's next datagram may join. */
  message = -1;
  alsoMessage = -1;
  round = -1;

  constructor(pathId: string, place: number, local: VirtualAddresses, peer: VirtualAddresses) {
    this.pathId = pathId;
    this.place = place;
    this.id = wordsOf(Uint8Array.fromHex(pathId));
    this.local = local;
    this.peer = peer;
  }

  key(epoch: number): SendKey | undefined {
    return this.keys.find((key) => key.epoch === epoch);
  }

  retire(epoch: number): void {
    this.keys = without(this.keys, epoch);
    if (this.active?.epoch === epoch) this.active = null;
  }
}

/** What the outer header gets of an inner one: ECN by agreement (RFC 6040 section 4.1), DSCP by configuration. */
export function outerTos(key: SendKey, view: DataView, ip: number, copyDscp: boolean): number {
  const inner = trafficClass(view, ip);
  return (key.ecn ? inner & Ecn.mask : 0) | (copyDscp ? inner & ~Ecn.mask : 0);
}
