import { fileURLToPath } from 'node:url';
import { until } from './command.ts';
import type { Lab } from './lab.ts';
import { cable, type Namespace, type Through } from './namespace.ts';
import type { Program } from './program.ts';

export type CableQuality = {
  readonly delayMs: number;
  readonly lossPercent: number;
  /** null = as fast as it goes. */
  readonly rateMbit: number | null;
  readonly seed: number;
};

const boxFile = fileURLToPath(new URL('./delay-box.ts', import.meta.url));

/**
 * A box in the middle of a cable, that delays and loses frames in both directions (`wish.through` of `attach`). The
 * kernel's own means for this (netem) is missing in many machines. Nothing passes before the first `set`.
 */
export class SlowCable implements Through {
  readonly #box: Namespace;
  #quality: CableQuality = { delayMs: 0, lossPercent: 0, rateMbit: null, seed: 1 };
  #program: Program | null = null;

  constructor(lab: Lab, title: string) {
    this.#box = lab.namespace(title);
    // The box itself shall not be heard on the cable.
    this.#box.sh('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6');
  }

  connect(a: Namespace, aInterface: string, b: Namespace, bInterface: string): void {
    cable(a, aInterface, this.#box, 'left');
    cable(this.#box, 'right', b, bInterface);
  }

  /** Changes what is named; the rest stays as it was. */
  async set(quality: Partial<CableQuality>): Promise<void> {
    this.#quality = { ...this.#quality, ...quality };
    if (this.#program === null) {
      this.#program = this.#box.spawn([process.execPath, boxFile, 'left', 'right']);
      await this.#program.output(/^ready$/m);
    }
    const order = JSON.stringify(this.#quality);
    const before = this.#program.stdout.length;
    this.#program.write(`${order}\n`);
    await until(() => this.#program?.stdout.includes(`set ${order}\n`, before), { what: `the cable to be ${order}` });
  }
}
