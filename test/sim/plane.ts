/** A node's data plane, small and slow: it does what the control plane commands, with capsules as they are on the wire. */

import type { Aead, AeadFactory } from '../../src/crypto/aead.ts';
import { ReplayWindow } from '../../src/crypto/replay.ts';
import type { Counters } from '../../src/lib/counters.ts';
import { type Address, type Endpoint, sameEndpoint } from '../../src/lib/ip.ts';
import {
  LARGE_PACKET,
  type PathCommand,
  type PathEvent,
  type PathTraffic,
  type VirtualAddresses,
} from '../../src/lib/path.ts';
import { layout, type Message, readBody, readEnvelope } from '../../src/proto/codec.ts';
import { CAPSULE_WINDOW, HEADER_LENGTH, REJECT_AFTER_PACKETS, type Suite } from '../../src/proto/constants.ts';
import type { DropReason } from '../../src/proto/drop.ts';
import { HeaderOffset } from '../../src/proto/header.ts';
import { Flag, messageTable } from '../../src/proto/messages.ts';
import { addressesOf } from './packet.ts';

type Key = {
  readonly epoch: number;
  readonly send: Aead;
  readonly receive: Aead;
  readonly window: ReplayWindow;
  sequence: number;
  readonly partialChecksum: boolean;
  opened: boolean;
};

type Path = {
  readonly pathId: string;
  readonly local: VirtualAddresses;
  readonly peer: VirtualAddresses;
  keys: Key[];
  active: Key | null;
  endpoint: Endpoint | null;
  relayed: boolean;
  also: Endpoint | null;
  from: Endpoint | null;
  movedAt: number;
  readonly totals: { -readonly [K in Exclude<keyof PathTraffic, 'pathId'>]: number };
  reported: number;
};

export type PlaneOptions = {
  readonly aead: AeadFactory;
  readonly counters: Counters;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly send: (to: Endpoint, datagram: Uint8Array) => void;
  readonly event: (event: PathEvent) => void;
  /** An inner packet for this machine. */
  readonly deliver: (packet: Uint8Array) => void;
};

const MOVED_INTERVAL_MS = 1_000;
const MAX_DATAGRAM = 65_000;

export class Plane {
  readonly #options: PlaneOptions;
  readonly #paths = new Map<string, Path>();
  /** By pair of virtual addresses, local first. */
  readonly #routes = new Map<string, string>();

  constructor(options: PlaneOptions) {
    this.#options = options;
  }

  get sizes(): { readonly paths: number; readonly keys: number; readonly routes: number } {
    const keys = [...this.#paths.values()].reduce((sum, path) => sum + path.keys.length, 0);
    return { paths: this.#paths.size, keys, routes: this.#routes.size };
  }

  /** Of every key: whether inner transport checksums may be left to the receiver. */
  get partialChecksums(): boolean[] {
    return [...this.#paths.values()].flatMap(({ keys }) => keys.map((key) => key.partialChecksum));
  }

  /** PathIDs of all paths to a peer. */
  pathsTo(vip: Address): string[] {
    return [...this.#paths.values()].filter(({ peer }) => peer.vip4 === vip || peer.vip6 === vip).map((p) => p.pathId);
  }

  /** A packet from an application of this machine. */
  packet(packet: Uint8Array): void {
    const { source, destination } = addressesOf(packet);
    const path = this.#paths.get(this.#routes.get(`${source} ${destination}`) ?? '');
    if (path === undefined) this.#options.event({ on: 'unrouted', packet, source, destination });
    else this.#seal(path, packet);
  }

  /** Whatever came to the UDP port. */
  datagram(datagram: Uint8Array, from: Endpoint): void {
    const isCapsule = datagram[HeaderOffset.type] === messageTable.capsule.type && datagram.length >= HEADER_LENGTH;
    if (!isCapsule) {
      this.#options.event({ on: 'datagram', datagram, from });
      return;
    }
    const dropped = this.#capsule(datagram, from);
    if (dropped !== null) this.#options.counters.add(`drop-${dropped}`);
  }

  command(command: PathCommand): void {
    if (command.do === 'installPath') {
      this.#remove(command.pathId);
      this.#paths.set(command.pathId, newPath(command.pathId, command.local, command.peer));
      return;
    }
    if (command.do === 'route') {
      this.#route(command.local, command.peer, command.pathId);
      return;
    }
    const path = this.#paths.get(command.pathId);
    if (path === undefined) return;
    switch (command.do) {
      case 'installKey': {
        retire(path, command.epoch);
        const suite = command.suite as Suite;
        const key: Key = {
          epoch: command.epoch,
          send: this.#options.aead(suite, command.sendKey),
          receive: this.#options.aead(suite, command.receiveKey),
          window: new ReplayWindow(CAPSULE_WINDOW),
          sequence: 0,
          partialChecksum: command.partialChecksum === true,
          opened: false,
        };
        path.keys.push(key);
        if (command.activate) path.active = key;
        break;
      }
      case 'activateKey':
        path.active = path.keys.find(({ epoch }) => epoch === command.epoch) ?? path.active;
        break;
      case 'retireKey':
        retire(path, command.epoch);
        break;
      case 'setEndpoint':
        path.endpoint = command.endpoint;
        path.relayed = command.relayed;
        path.also = command.also ?? null;
        break;
      case 'removePath':
        this.#remove(command.pathId);
        break;
      case 'sendPackets':
        for (const packet of command.packets) this.#seal(path, packet);
        if (command.packets.length === 0) this.#seal(path, new Uint8Array(0));
    }
  }

  /** Totals of the paths on which something happened since the last call. */
  traffic(): PathTraffic[] {
    const changed: PathTraffic[] = [];
    for (const path of this.#paths.values()) {
      const { totals } = path;
      const sum = totals.txPackets + totals.txDropped + totals.rxPackets + totals.rxDropped;
      if (sum !== path.reported) changed.push({ pathId: path.pathId, ...totals });
      path.reported = sum;
    }
    return changed;
  }

  #seal(path: Path, payload: Uint8Array): void {
    const { active: key, endpoint, totals } = path;
    if (key === null || endpoint === null || key.sequence >= REJECT_AFTER_PACKETS) {
      totals.txDropped++;
      this.#options.counters.add(key === null || endpoint === null ? 'drop-no-route' : 'drop-key-exhausted');
      return;
    }
    const [laid] = layout(
      {
        type: 'capsule',
        id: path.pathId,
        transactionId: 0,
        flags: path.relayed ? Flag.relayed : 0,
        epoch: key.epoch,
        body: { payload, flags: 0 },
      },
      key.send,
      () => ++key.sequence,
      MAX_DATAGRAM,
    );
    const { bytes, bodyStart, plainLength, sequence } = laid!;
    key.send.seal(bytes, 0, bodyStart, plainLength, sequence);
    if (payload.length > 0) {
      totals.txPackets++;
      totals.txBytes += payload.length;
      if (payload.length > LARGE_PACKET) totals.txLarge++;
    }
    this.#options.send(endpoint, bytes);
    if (path.also !== null) this.#options.send(path.also, bytes.slice());
  }

  #capsule(datagram: Uint8Array, from: Endpoint): DropReason | null {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return envelope;
    const path = this.#paths.get(envelope.id);
    if (path === undefined) return 'unknown-path';
    const { totals } = path;
    const reject = (reason: DropReason): DropReason => {
      totals.rxRejected++;
      return reason;
    };
    const key = path.keys.find(({ epoch }) => epoch === envelope.epoch);
    if (key === undefined) return reject('unknown-epoch');
    if (!key.window.check(envelope.sequence)) {
      totals.rxReplayed++;
      return 'replayed';
    }
    const bytes = datagram.slice();
    const length = key.receive.open(bytes, 0, envelope.bodyStart, bytes.length, envelope.sequence);
    if (length < 0) return reject('tag');
    key.window.accept(envelope.sequence);
    this.#cameFrom(path, key, from);
    const start = envelope.bodyStart + key.receive.lead;
    const message: Message | DropReason = readBody(envelope, bytes.subarray(start, start + length));
    if (typeof message === 'string') return reject(message);
    if (message.type !== 'capsule') return reject('unexpected');
    const { payload } = message.body;
    if (payload.length === 0) return null;
    const { source, destination } = addressesOf(payload);
    if (source !== path.peer.vip4 && source !== path.peer.vip6) return reject('inner-source');
    if (destination !== path.local.vip4 && destination !== path.local.vip6) return reject('inner-destination');
    totals.rxPackets++;
    totals.rxBytes += payload.length;
    this.#options.deliver(payload);
    return null;
  }

  #cameFrom(path: Path, key: Key, from: Endpoint): void {
    const now = this.#options.now();
    if (!key.opened) {
      key.opened = true;
      path.from = from;
      this.#options.event({ on: 'opened', pathId: path.pathId, epoch: key.epoch, from });
    } else if ((path.from === null || !sameEndpoint(path.from, from)) && now - path.movedAt >= MOVED_INTERVAL_MS) {
      path.from = from;
      path.movedAt = now;
      this.#options.event({ on: 'moved', pathId: path.pathId, from });
    }
  }

  #route(local: VirtualAddresses, peer: VirtualAddresses, pathId: string | null): void {
    for (const family of ['vip4', 'vip6'] as const) {
      const [ours, theirs] = [local[family], peer[family]];
      if (ours === null || theirs === null) continue;
      if (pathId === null) this.#routes.delete(`${ours} ${theirs}`);
      else this.#routes.set(`${ours} ${theirs}`, pathId);
    }
  }

  #remove(pathId: string): void {
    const path = this.#paths.get(pathId);
    for (const { epoch } of path?.keys ?? []) retire(path!, epoch);
    this.#paths.delete(pathId);
    for (const [pair, routed] of this.#routes) if (routed === pathId) this.#routes.delete(pair);
  }
}

function newPath(pathId: string, local: VirtualAddresses, peer: VirtualAddresses): Path {
  const totals = {
    txPackets: 0,
    txBytes: 0,
    txDropped: 0,
    txLarge: 0,
    rxPackets: 0,
    rxBytes: 0,
    rxDropped: 0,
    rxReplayed: 0,
    rxRejected: 0,
  };
  const place = { endpoint: null, relayed: false, also: null, from: null, movedAt: Number.NEGATIVE_INFINITY };
  return { pathId, local, peer, keys: [], active: null, ...place, totals, reported: 0 };
}

function retire(path: Path, epoch: number): void {
  const key = path.keys.find((k) => k.epoch === epoch);
  key?.send.close();
  key?.receive.close();
  path.keys = path.keys.filter((k) => k !== key);
  if (path.active === key) path.active = null;
}
