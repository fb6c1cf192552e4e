/**
 * The life of one general node: seen on the link, logged in by the AS, active, idle once nothing is heard of it. Only a
 * login that the AS accepted makes it active, and it stays so until the register or the AS says otherwise, the device logs
 * off, or it is gone. What could not be asked is asked again.
 */

import type { Now } from '../../lib/time.ts';
import type { GeneralNodeState, LoginResult, RegisteredDevice } from './types.ts';

/** Milliseconds. */
export const generalNodeTiming = {
  /** Protocol section 3.3: silent for this long, a general node is asked whether it is there. */
  idle: 30 * 60_000,
  probe: 1_000,
  /** Who is not there is looked for so often: a device that only waits for others would never show itself. */
  seek: 60_000,
  /** Wait after a login that could not be asked for: doubles up to the longest. */
  retry: 1_000,
  longestRetry: 30_000,
  /** Wait after the network said no; a change of the register ends it. */
  refused: 60_000,
} as const;
const PROBES = 3;

export type LifeEvents = {
  /** By its MAC address; 802.1X asks the device itself. */
  authenticate(node: GeneralNode, now: Now): void;
  joined(node: GeneralNode, now: Now): void;
  left(node: GeneralNode, now: Now): void;
  /** Ask whether it is still there. */
  probe(node: GeneralNode): void;
};

export class GeneralNode {
  device: RegisteredDevice;
  state: GeneralNodeState = 'idle';
  /** Tag control information of its frames. */
  tag: number | null = null;
  /** Whether a login was accepted that still counts, so that the device need not log in again to come back. */
  granted: boolean;
  /** The login under way. */
  attempt = 0;
  #heard = Number.NEGATIVE_INFINITY;
  #probes = 0;
  #retry: number = generalNodeTiming.retry;
  /** When there is something to do. */
  due = Number.NEGATIVE_INFINITY;
  readonly #events: LifeEvents;

  constructor(device: RegisteredDevice, granted: boolean, events: LifeEvents) {
    this.device = device;
    this.granted = granted;
    this.#events = events;
  }

  get isActive(): boolean {
    return this.state === 'active';
  }

  /** Whether its MAC address alone lets it in. */
  get byMac(): boolean {
    return this.device.auth === 'mac';
  }

  /** A frame of it came. */
  heard(now: Now): void {
    this.#heard = now.ms;
    this.#probes = 0;
    if (this.state === 'active') this.due = now.ms + generalNodeTiming.idle;
    if (this.state !== 'idle' || this.device.state === 'disabled') return;
    this.state = 'seen';
    if (this.byMac && this.granted) this.#join(now);
    else this.#events.authenticate(this, now);
  }

  /** A login of it begins. */
  began(attempt: number): void {
    this.attempt = attempt;
    if (!this.isActive) this.state = 'authenticating';
    this.due = Number.POSITIVE_INFINITY;
  }

  /** The outcome of its latest login; what comes of older ones has no meaning any more. */
  ended(attempt: number, result: LoginResult, now: Now): void {
    if (attempt !== this.attempt) return;
    this.attempt = 0;
    if (result === 'accepted') {
      this.granted = true;
      this.#retry = generalNodeTiming.retry;
      this.#join(now);
    } else if (result === 'refused') {
      this.refuse(now);
    } else {
      if (!this.isActive) this.state = 'seen';
      this.due = now.ms + this.#retry;
      this.#retry = Math.min(2 * this.#retry, generalNodeTiming.longestRetry);
    }
  }

  /** The network says no, now or after it had said yes. */
  refuse(now: Now): void {
    this.granted = false;
    this.attempt = 0;
    this.#leave('refused', now);
    this.due = now.ms + generalNodeTiming.refused;
  }

  /** The register has it otherwise now: true if what was decided no longer counts. */
  changed(device: RegisteredDevice, now: Now): boolean {
    const { device: before } = this;
    this.device = device;
    const enrolled = before.state === 'new' && device.state === 'enrolled';
    const same = (['nodeId', 'mac', 'auth', 'mode', 'vip4', 'vip6'] as const).every(
      (key) => before[key] === device[key],
    );
    if (same && (enrolled || before.state === device.state)) return false;
    // Under another MAC address nothing was heard of it yet.
    if (before.mac !== device.mac) this.#heard = Number.NEGATIVE_INFINITY;
    this.granted = false;
    this.attempt = 0;
    this.#leave(device.state === 'disabled' ? 'refused' : 'idle', now);
    this.#heard = Number.NEGATIVE_INFINITY;
    this.#probes = 0;
    this.due = now.ms;
    return true;
  }

  /** It is gone from the link, or logged off. */
  gone(now: Now): void {
    this.attempt = 0;
    this.#leave('idle', now);
    this.due = now.ms + generalNodeTiming.seek;
  }

  tick(now: Now): void {
    if (this.due > now.ms) return;
    this.due = Number.POSITIVE_INFINITY;
    if (this.device.state === 'disabled') return;
    if (this.state === 'refused' || this.state === 'seen') {
      // Asked by its own frames, or again by us as long as it is there.
      const present = now.ms - this.#heard < generalNodeTiming.idle;
      this.state = present ? 'seen' : 'idle';
      if (present) this.#events.authenticate(this, now);
    } else if (this.isActive) this.#watch(now);
    else if (this.state === 'idle') this.#seek(now);
  }

  /** 802.1X begins when the device itself does. */
  #seek(now: Now): void {
    if (!this.byMac) return;
    this.#events.probe(this);
    this.#probes++;
    this.due = now.ms + (this.#probes < PROBES ? generalNodeTiming.probe : generalNodeTiming.seek);
  }

  #watch(now: Now): void {
    const { idle, probe } = generalNodeTiming;
    if (now.ms - this.#heard < idle) this.due = this.#heard + idle;
    else if (this.#probes === PROBES) this.gone(now);
    else {
      this.#probes++;
      this.#events.probe(this);
      this.due = now.ms + probe;
    }
  }

  #join(now: Now): void {
    const wasActive = this.isActive;
    this.state = 'active';
    this.due = Math.max(this.#heard, now.ms) + generalNodeTiming.idle;
    // A renewed login is told as well: it brought a new session.
    this.#events.joined(this, now);
    if (!wasActive) this.#probes = 0;
  }

  #leave(state: 'refused' | 'idle', now: Now): void {
    const wasActive = this.isActive;
    this.state = state;
    if (wasActive) this.#events.left(this, now);
  }
}
