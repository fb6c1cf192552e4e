/** How often the machine hears of traffic, from which it tells whether a path still works (ms). */
const LOOK_MS = 250;

/** Looks at traffic regularly from when there is some until there is none. */
export class TrafficWatch {
  readonly #look: () => boolean;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `look`: whether there was any since the last look; if not, `begun` is to be called when there is. */
  constructor(look: () => boolean) {
    this.#look = look;
  }

  begun(): void {
    if (this.#closed) return;
    this.#timer ??= setInterval(() => {
      if (!this.#look()) this.#pause();
    }, LOOK_MS);
  }

  close(): void {
    this.#closed = true;
    this.#pause();
  }

  #pause(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
