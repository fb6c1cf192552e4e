import { fileURLToPath } from 'node:url';
import type { Kind, LoadOrder, LoadReport } from './cloud-load.ts';
import { until } from './command.ts';
import type { Lab } from './lab.ts';
import type { Program } from './program.ts';
import type { RoutedCloud } from './routed-cloud.ts';

const loadFile = fileURLToPath(new URL('./cloud-load.ts', import.meta.url));

export const all: readonly Kind[] = ['registration', 'keepAlive', 'direction', 'login'];

/** Simulated nodes with many addresses, on a host of their own. */
export class Load {
  readonly #program: Program;

  constructor(lab: Lab, cloud: RoutedCloud, { nodes, rate }: { readonly nodes: number; readonly rate: number }) {
    const host = lab.host('clients', cloud.internet, { v4: '192.0.2.20' });
    cloud.internet.route('172.16.0.0/16', '192.0.2.20');
    host.sh('ip route add local 172.16.0.0/16 dev lo');
    const words = [loadFile, cloud.network.directory, String(nodes), String(rate)];
    this.#program = host.spawn([process.execPath, ...words]);
  }

  /** Every node is registered. */
  ready(timeoutMs = 60_000): Promise<unknown> {
    return this.#program.output(/^ready$/m, timeoutMs);
  }

  run(kinds: readonly Kind[], seconds: number): Promise<LoadReport> {
    return this.during(async () => {}, kinds, seconds);
  }

  /** Offers load and lets something happen under it, as soon as it flows. */
  async during(event: () => Promise<void>, kinds = all, seconds = 4): Promise<LoadReport> {
    const begin = this.#program.stdout.length;
    const said = (pattern: RegExp) => pattern.exec(this.#program.stdout.slice(begin));
    this.#program.write(`${JSON.stringify({ kinds, seconds } satisfies LoadOrder)}\n`);
    await until(() => said(/^flowing$/m), { what: 'the first answer' });
    await event();
    const timeoutMs = (seconds + 60) * 1_000;
    const [report] = await until(() => said(/^\{.*\}$/m), { what: 'the results', timeoutMs });
    return JSON.parse(report!);
  }
}
