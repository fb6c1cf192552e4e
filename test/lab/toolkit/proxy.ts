/** Debian's tinyproxy on a host: whoever knows the password gets through to port 443 of anywhere. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import type { Program } from './program.ts';

const PORT = 8888;

export class HttpProxy {
  readonly #host: Namespace;
  readonly #address: string;
  readonly #file: string;
  readonly #programs: Program[] = [];

  constructor(lab: Lab, host: Namespace, address: string) {
    this.#host = host;
    this.#address = address;
    this.#file = join(lab.directory, `${host.title}-tinyproxy.conf`);
  }

  url(user: string, password: string): string {
    return `http://${user}:${password}@${this.#address}:${PORT}`;
  }

  /** Starts it, or starts it again. */
  async serve(user: string, password: string): Promise<void> {
    await this.#programs.at(-1)?.stop();
    const access = [`BasicAuth ${user} ${password}`, 'ConnectPort 443'];
    const lines = [`Listen ${this.#address}`, `Port ${PORT}`, ...access, 'LogLevel Info'];
    writeFileSync(this.#file, `${lines.join('\n')}\n`);
    const program = this.#host.spawn(['tinyproxy', '-d', '-c', this.#file]);
    this.#programs.push(program);
    await program.output(/Accepting connections/);
  }

  /** Where tunnels were asked for. */
  get asked(): Set<string> {
    const log = this.#programs.map(({ stdout }) => stdout).join('');
    return new Set([...log.matchAll(/CONNECT (\S+) HTTP/g)].map(([, endpoint]) => endpoint!));
  }
}
