/**
 * Key and certificate by which the adapter speaks TLS to its general nodes: fetched, kept in memory, renewed in time. Where
 * the AS judges by what the device signs, they are of this moment: a signature over them is then no older.
 */

import { X509Certificate } from 'node:crypto';
import type { TlsIdentity } from '../../crypto/tls-certificate.ts';
import type { Log } from '../../lib/log.ts';
import type { Mac } from '../../lib/mac.ts';
import { readClock } from '../../sys/clock.ts';

const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** One that is younger serves many devices (ms), as the controller gives no adapter many; the AS takes it for new for five minutes. */
const YOUNG_MS = 3 * 60_000;
/** Longest delay a timer of the runtime takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export type ServerCertificateOptions = {
  readonly fetch: () => Promise<TlsIdentity>;
  readonly log: Log;
  /** There is one now, or a new one. */
  readonly onIssued: () => void;
};

export class ServerCertificate {
  readonly #options: ServerCertificateOptions;
  #identity: TlsIdentity | null = null;
  /** When it was asked for (Unix milliseconds), and who has been shown it or has logged in since. */
  #askedAt = Number.NEGATIVE_INFINITY;
  readonly #shown = new Set<Mac>();
  #fetching: Promise<void> | null = null;
  #wanted = false;
  #retry = RETRY_MS;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ServerCertificateOptions) {
    this.#options = options;
  }

  get identity(): TlsIdentity | null {
    return this.#identity;
  }

  /** There is a general node that needs it. */
  want(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    void this.#renew();
  }

  /** One that is new to this device and young; the one there is, if no other can be had. */
  async newTo(mac: Mac): Promise<TlsIdentity | null> {
    const age = readClock().wall - this.#askedAt;
    // The clock may have been set back.
    if (age < 0 || age >= YOUNG_MS || this.#shown.has(mac)) await this.#renew();
    this.#shown.add(mac);
    return this.#identity;
  }

  /** A device has logged in: what was issued before is not new to it. */
  loggedIn(mac: Mac): void {
    this.#shown.add(mac);
  }

  close(): void {
    this.#wanted = false;
    clearTimeout(this.#timer);
  }

  #renew(): Promise<void> {
    clearTimeout(this.#timer);
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    let wait: number;
    try {
      const askedAt = readClock().wall;
      const identity = await this.#options.fetch();
      if (!this.#wanted) return;
      this.#identity = identity;
      this.#askedAt = askedAt;
      this.#shown.clear();
      this.#retry = RETRY_MS;
      const { validToDate } = new X509Certificate(identity.certificate);
      // At half of the time that is left, so that the cloud may be away for as long.
      wait = (validToDate.getTime() - readClock().wall) / 2;
      this.#options.onIssued();
    } catch (error) {
      if (!this.#wanted) return;
      wait = this.#retry;
      this.#retry = Math.min(2 * wait, LONGEST_RETRY_MS);
      this.#options.log.warn('no certificate for 802.1X', { why: (error as Error).message, inMs: wait });
    }
    const delay = Math.min(Math.max(wait, RETRY_MS), MAX_TIMER_MS);
    this.#timer = setTimeout(() => void this.#renew(), delay).unref();
  }
}
