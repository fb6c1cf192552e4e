/** The largest inner packet that a path carries: probes of one way at a time, and what the data path is told of it. */

import { familyOf } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { BASE_MTU, Suite } from '../../proto/constants.ts';
import { byWay, headerBy } from './by-way.ts';
import type { NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { type SizeProbe, SizeSearch } from './size-search.ts';
import { Timers } from './timers.ts';
import type { Way } from './ways.ts';

/** IP and UDP headers. */
const OUTER = { 4: 28, 6: 48 } as const;
/** Base Header, capsule preface and tag; beside the payload in a Size Probe also the `instance` option. */
const CAPSULE = 32 + 4 + 16;
const PROBE = 32 + 24 + 2 + 16;
/** `cbc-md5`: an IV, and padding to whole blocks. */
const BLOCK = 16;
/** An answer that takes longer came too late for its trial (ms). */
const PATIENCE_MS = 3_000;

export class PathMtu {
  readonly timers: Timers<'probe'>;
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly #search = new SizeSearch();
  #way: Way | null = null;
  /** What the data path knows. */
  #mtu: number | null = null;
  #blackHoles = 0;

  constructor(context: NodeContext, path: Path) {
    this.#context = context;
    this.#path = path;
    this.timers = new Timers(path);
  }

  get mtu(): number | null {
    return this.#mtu;
  }

  /** Packets take this way now. */
  follow(way: Way | null, now: Now): void {
    if (way === this.#way || way === null) return;
    this.#way = way;
    this.#begin(way, now);
  }

  /** Our end is elsewhere: what was found before need not hold. */
  moved(now: Now): void {
    if (this.#way === null) return;
    this.#way.carries = null;
    this.#begin(this.#way, now);
  }

  /** Large packets went out; `silent`: and nothing came back for a while. */
  sending(silent: boolean, now: Now): void {
    if (silent) this.#search.silent(now.ms);
    else this.#search.sending(now.ms);
    this.#schedule();
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length === 0) return;
    for (const probe of this.#search.tick(now.ms)) this.#probe(probe, now);
    this.#schedule();
  }

  stop(): void {
    this.#context.cancel(this);
    this.timers.clearAll();
  }

  #begin(way: Way, now: Now): void {
    this.#context.cancel(this);
    const { suite } = this.#path.direction;
    const base = BASE_MTU - OUTER[familyOf(way.endpoint.address)];
    const max = datagramOf(this.#context.mtu, suite);
    this.#search.begin(base, max, way.carries ?? max, way.rttMs, now.ms);
    this.#tell();
    this.#schedule();
  }

  #probe(probe: SizeProbe, now: Now): void {
    const way = this.#way!;
    this.#context.ask(
      {
        ...byWay(this.#path, way),
        owner: this,
        tries: 1,
        delay: () => PATIENCE_MS,
        request: {
          type: 'sizeProbe',
          ...headerBy(this.#path, way),
          body: { padding: new Uint8Array(Math.max(0, probe.size - this.#overhead)) },
        },
        answered: (_message, _arrival, _rttMs, at) => this.#answered(probe, at),
        failed: () => {},
      },
      now,
    );
  }

  #answered(probe: SizeProbe, now: Now): void {
    this.#search.answered(probe, now.ms);
    if (this.#way !== null) this.#way.carries = this.#search.size;
    this.#tell();
    this.#schedule();
  }

  /** With `cbc-md5` a probe is at least as long as asked for. */
  get #overhead(): number {
    return this.#path.direction.suite === Suite.cbcMd5 ? PROBE + BLOCK + 1 : PROBE;
  }

  #tell(): void {
    const { size, blackHoles } = this.#search;
    const mtu = Math.min(this.#context.mtu, innerOf(size, this.#path.direction.suite));
    if (blackHoles > this.#blackHoles) this.#context.emit({ do: 'count', name: 'mtu-black-hole' });
    this.#blackHoles = blackHoles;
    if (mtu === this.#mtu) return;
    if (this.#mtu !== null) {
      this.#context.emit({ do: 'count', name: mtu < this.#mtu ? 'mtu-lowered' : 'mtu-raised' });
      this.#context.log('info', 'path MTU', { peer: this.#path.peer.fqdn, mtu, before: this.#mtu });
    }
    this.#mtu = mtu;
    this.#context.emit({ do: 'setMtu', pathId: this.#path.id, mtu });
  }

  #schedule(): void {
    const { next } = this.#search;
    if (next === Number.POSITIVE_INFINITY) this.timers.clear('probe');
    else this.timers.set('probe', next);
  }
}

/** The datagram that carries an inner packet. */
export function datagramOf(inner: number, suite: Suite): number {
  if (suite !== Suite.cbcMd5) return inner + CAPSULE;
  return CAPSULE - 4 + BLOCK + BLOCK * (Math.floor((inner + 4) / BLOCK) + 1);
}

/** The largest inner packet in a datagram. */
export function innerOf(datagram: number, suite: Suite): number {
  if (suite !== Suite.cbcMd5) return datagram - CAPSULE;
  return BLOCK * Math.floor((datagram - (CAPSULE - 4) - BLOCK) / BLOCK) - 1 - 4;
}
