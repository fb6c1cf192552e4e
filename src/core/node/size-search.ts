/**
 * How large a datagram one way carries (RFC 8899: path MTU discovery by a datagram protocol itself). A size is tried by
 * pairs of probes: one of that size, and right behind it a small one as the control. The size fits once its probe is
 * answered. It does not once so many controls were answered and none of its probes: loss hits both alike, and a silent
 * way says nothing about sizes. Without I/O or clock; octets of UDP payload, times in ms.
 *
 *   begin → the size taken for granted is tried → the largest is tried → halving in between → found
 *   found, large datagrams go out → now and then the size found is tried again → a black hole: back to the base, search
 */

/** Answered controls after which an unanswered size counts as too large. */
const CONTROLS = 5;
/** Pairs of one trial without a decision: nobody answers at all. */
const MAX_PAIRS = 24;
/** Pairs follow one another at the round trip, but no faster than this. */
const GAP_MS = 100;
/** While large datagrams go out the size is confirmed so often: with the trial, a black hole is noticed within 3 s. */
const CONFIRM_MS = 1_000;
/** The same while nothing comes back. */
const SILENT_MS = 500;
/** PMTU_RAISE_TIMER (RFC 8899 section 5.1.1): a path may carry more than it did. */
const RAISE_MS = 600_000;
/** A way that answered nothing is asked again. */
const RETRY_MS = 60_000;

/** A probe to send; `trial` comes back with its answer. Size 0 = as small as one can be. */
export type SizeProbe = { readonly trial: number; readonly size: number };

type Purpose = 'assumed' | 'confirm' | 'search';
type Trial = {
  readonly number: number;
  readonly size: number;
  readonly purpose: Purpose;
  pairs: number;
  controls: number;
  due: number;
};

export class SizeSearch {
  /** Datagrams up to this size are taken to get through. */
  size = 0;
  /** Times that the size in use turned out to get lost. */
  blackHoles = 0;
  #base = 0;
  #max = 0;
  #gapMs = GAP_MS;
  /** Proven, or the base; and the largest that may still fit. */
  #low = 0;
  #high = 0;
  /** Whether `size` was proven, not only taken for granted. */
  #proven = false;
  /** The largest is tried first, as most paths carry it. */
  #triedMax = false;
  #provenAt = Number.NEGATIVE_INFINITY;
  /** When the size has to be confirmed, and when more is tried, or it all begins again. */
  #confirmAt = Number.POSITIVE_INFINITY;
  #raiseAt = Number.POSITIVE_INFINITY;
  #trial: Trial | null = null;
  #trials = 0;

  /**
   * A way nothing is known of now. `base` fits on any; `assumed` is used until it is proven or refuted: most paths carry
   * the largest, and connections keep for life the segment size they begin with.
   */
  begin(base: number, max: number, assumed: number, rttMs: number | null, ms: number): void {
    this.#base = base;
    this.#max = Math.max(base, max);
    this.#gapMs = Math.max(GAP_MS, rttMs ?? 2 * GAP_MS);
    this.#low = base;
    this.#high = this.#max;
    this.size = Math.min(this.#max, Math.max(base, assumed));
    this.#proven = this.size === base;
    this.#triedMax = false;
    this.#provenAt = Number.NEGATIVE_INFINITY;
    this.#confirmAt = Number.POSITIVE_INFINITY;
    this.#raiseAt = Number.POSITIVE_INFINITY;
    this.#trial = null;
    this.#advance(ms);
  }

  stop(): void {
    this.#trial = null;
    this.#confirmAt = Number.POSITIVE_INFINITY;
    this.#raiseAt = Number.POSITIVE_INFINITY;
  }

  get next(): number {
    return this.#trial?.due ?? Math.min(this.#raiseAt, this.#confirmAt);
  }

  /** Datagrams larger than the base went out. */
  sending(ms: number): void {
    if (!this.#proven || this.size === this.#base || this.#confirmAt !== Number.POSITIVE_INFINITY) return;
    this.#confirmAt = Math.max(ms, this.#provenAt + CONFIRM_MS);
  }

  /** They did, and nothing came back. */
  silent(ms: number): void {
    this.sending(ms);
    if (this.#confirmAt !== Number.POSITIVE_INFINITY) this.#confirmAt = Math.max(ms, this.#provenAt + SILENT_MS);
  }

  /** The probes to send now, in this order: what is answered behind a probe shows that it had its chance. */
  tick(ms: number): SizeProbe[] {
    if (this.#trial === null && this.next <= ms) {
      if (this.#raiseAt <= ms) {
        this.#raiseAt = Number.POSITIVE_INFINITY;
        this.#high = this.#max;
        this.#triedMax = false;
      }
      this.#advance(ms);
    }
    const trial = this.#trial;
    if (trial === null || trial.due > ms) return [];
    if (trial.pairs === MAX_PAIRS) {
      this.stop();
      this.#raiseAt = ms + RETRY_MS;
      return [];
    }
    trial.pairs++;
    trial.due = ms + this.#gapMs;
    return [
      { trial: trial.number, size: trial.size },
      { trial: trial.number, size: 0 },
    ];
  }

  answered({ trial: number, size }: SizeProbe, ms: number): void {
    const trial = this.#trial;
    if (trial === null || trial.number !== number) return;
    if (size > 0) this.#fits(trial, ms);
    else if (++trial.controls === CONTROLS) this.#tooLarge(trial);
    else return;
    this.#trial = null;
    this.#advance(ms);
  }

  #fits({ size, purpose }: Trial, ms: number): void {
    this.#low = size;
    this.#proven = true;
    this.#provenAt = ms;
    this.#confirmAt = Number.POSITIVE_INFINITY;
    if (purpose === 'search') this.#triedMax = true;
    this.size = size;
  }

  #tooLarge({ size, purpose }: Trial): void {
    this.#high = size - 1;
    this.#triedMax = true;
    if (purpose === 'search') return;
    if (purpose === 'confirm') this.blackHoles++;
    this.#low = this.#base;
    this.size = this.#base;
    this.#proven = true;
    this.#confirmAt = Number.POSITIVE_INFINITY;
  }

  /** Begins the next trial, if there is anything to find out. */
  #advance(ms: number): void {
    if (!this.#proven) this.#try(this.size, 'assumed', ms);
    else if (this.#confirmAt <= ms) this.#try(this.size, 'confirm', ms);
    else if (this.#low < this.#high) {
      this.#try(this.#triedMax ? Math.ceil((this.#low + this.#high) / 2) : this.#high, 'search', ms);
    } else if (this.size < this.#max && this.#raiseAt === Number.POSITIVE_INFINITY) this.#raiseAt = ms + RAISE_MS;
  }

  #try(size: number, purpose: Purpose, ms: number): void {
    this.#trial = { number: ++this.#trials, size, purpose, pairs: 0, controls: 0, due: ms };
  }
}
