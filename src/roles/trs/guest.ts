/**
 * A device that speaks to this TRS over TLS, as a UDP endpoint of this host: one port towards the TRS and one towards the
 * NMS, which see it there and answer there. Nothing goes anywhere else.
 */

import type { TLSSocket } from 'node:tls';
import { Buckets } from '../../core/limits.ts';
import type { Counters } from '../../lib/counters.ts';
import { type Endpoint, familyOf, sameEndpoint } from '../../lib/ip.ts';
import { Carriage, Conduit } from '../carriage.ts';
import { type Destination, destinationOf, isAnswer } from './destination.ts';

/** Where the datagrams of guests go. */
export type Targets = { readonly trs: Endpoint | null; readonly nms: readonly Endpoint[] };

/** Signalling of one guest, which may be an adapter with many devices. What it relays is not counted here. */
const SIGNALLING = { burst: 2_048, perSecond: 1_000 };
/** Until an NMS or TRS has answered it (ms). */
const UNPROVEN_MS = 15_000;
/** It says at least that it is there (ms). */
const SILENT_MS = 60_000;
/** It takes nothing of what waits for it (ms). */
const STUCK_MS = 30_000;
/** An NMS that does not answer for this long gives way to the next one (ms). */
const NMS_SILENT_MS = 3_000;

export type GuestEvents = {
  /** Whether something of it may go on before any service believes it: all that strangers say comes from our address. */
  admits(): boolean;
  /** A service believes what it says. */
  proven(): void;
  closed(): void;
};

export class Guest {
  readonly #counters: Counters;
  readonly #targets: () => Targets;
  readonly #events: GuestEvents;
  readonly #carriage: Carriage;
  readonly #signalling = new Buckets(SIGNALLING);
  readonly #since = performance.now();
  #toTrs: Conduit | null = null;
  #toNms: { readonly conduit: Conduit; readonly endpoint: Endpoint } | null = null;
  #nms = 0;
  #askedNmsAt: number | null = null;
  #proven = false;
  #closed = false;

  constructor(socket: TLSSocket, counters: Counters, targets: () => Targets, events: GuestEvents) {
    this.#counters = counters;
    this.#targets = targets;
    this.#events = events;
    this.#carriage = new Carriage(socket, counters, {
      datagram: (datagram) => this.#said(datagram),
      closed: () => this.#end(),
    });
  }

  /** Ends it if it has no business here, from time to time. */
  look(now: number): void {
    const { isStuck, movedAt, heardAt } = this.#carriage;
    if (!this.#proven && now - this.#since > UNPROVEN_MS) this.#hangUp('unproven');
    else if (now - heardAt > SILENT_MS) this.#hangUp('silent');
    else if (isStuck && now - movedAt > STUCK_MS) this.#hangUp('stuck');
  }

  close(): void {
    this.#carriage.close('the TRS stops');
  }

  #hangUp(why: string): void {
    this.#counters.add(`streams-hung-up-${why}`);
    this.#carriage.close(why);
  }

  #said(datagram: Uint8Array): void {
    if (datagram.length === 0) {
      if (this.#signalling.take('', performance.now())) this.#carriage.beat();
      return;
    }
    const destination = destinationOf(datagram);
    if ('drop' in destination) this.#counters.add(`stream-drop-${destination.drop}`);
    else if (!this.#admits(destination.to)) this.#counters.add('stream-drop-rate-limited');
    else this.#forward(destination.to, datagram);
  }

  #forward(to: Destination, datagram: Uint8Array): void {
    try {
      this.#conduit(to)?.send(datagram);
    } catch {
      // The system has no port left; that must not cost those who have one theirs.
      this.#hangUp('no-port');
    }
  }

  #admits(to: Destination): boolean {
    if (!this.#proven) return this.#events.admits();
    return to === 'relayed' || this.#signalling.take('', performance.now());
  }

  #conduit(to: Destination): Conduit | null {
    if (this.#closed) return null;
    if (to === 'nms') return this.#conduitToNms();
    const { trs } = this.#targets();
    if (trs === null) return null;
    this.#toTrs ??= this.#open(trs, (datagram) => this.#answered(datagram));
    return this.#toTrs;
  }

  #conduitToNms(): Conduit | null {
    const { nms } = this.#targets();
    const now = performance.now();
    if (this.#askedNmsAt !== null && now - this.#askedNmsAt > NMS_SILENT_MS) {
      this.#nms += 1;
      this.#askedNmsAt = null;
    }
    this.#askedNmsAt ??= now;
    const wanted = nms[this.#nms % Math.max(1, nms.length)];
    // The register's list comes anew with every change of it; a guest that stays where it is keeps its port.
    if (this.#toNms !== null && (wanted === undefined || !sameEndpoint(this.#toNms.endpoint, wanted))) {
      this.#toNms.conduit.close();
      this.#toNms = null;
    }
    if (wanted === undefined) return null;
    this.#toNms ??= {
      endpoint: wanted,
      conduit: this.#open(wanted, (datagram) => {
        this.#askedNmsAt = null;
        this.#answered(datagram);
      }),
    };
    return this.#toNms.conduit;
  }

  #open(to: Endpoint, deliver: (datagram: Uint8Array) => void): Conduit {
    return new Conduit(familyOf(to.address) === 4 ? '0.0.0.0' : '::', to, this.#counters, deliver);
  }

  #answered(datagram: Uint8Array): void {
    if (!this.#proven && isAnswer(datagram)) {
      this.#proven = true;
      this.#events.proven();
    }
    this.#carriage.send(datagram);
  }

  #end(): void {
    this.#closed = true;
    this.#toTrs?.close();
    this.#toNms?.conduit.close();
    this.#events.closed();
  }
}
