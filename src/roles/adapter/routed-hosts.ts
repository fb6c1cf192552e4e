/**
 * General nodes that reach the Internet through the kernel (`--internet`): it lets their packets in by MAC address and
 * source, and knows a way back to each of them.
 */

import type { ActiveHost } from '../../core/adapter/machine.ts';
import type { Log } from '../../lib/log.ts';
import { runTool } from '../../sys/tool.ts';
import { setRoutedHosts } from '../member/firewall.ts';
import { INWARD_TABLE } from '../member/interface-setup.ts';

export class RoutedHosts {
  readonly #tun: string;
  readonly #inner: string;
  readonly #log: Log;
  #routed = new Set<string>();
  #wanted: readonly ActiveHost[] | null = null;
  #busy: Promise<void> | null = null;

  constructor(tun: string, inner: string, log: Log) {
    this.#tun = tun;
    this.#inner = inner;
    this.#log = log;
  }

  /** Replaces the list; of several changes while one is under way only the last is carried out. */
  set(hosts: readonly ActiveHost[]): void {
    this.#wanted = hosts;
    this.#busy ??= this.#run();
  }

  async close(): Promise<void> {
    this.set([]);
    await this.#busy;
  }

  async #run(): Promise<void> {
    while (this.#wanted !== null) {
      const hosts = this.#wanted;
      this.#wanted = null;
      try {
        await this.#apply(hosts);
      } catch (error) {
        this.#log.error('general nodes are not routed', { why: (error as Error).message });
      }
    }
    this.#busy = null;
  }

  async #apply(hosts: readonly ActiveHost[]): Promise<void> {
    // A tagged device is on a link that the kernel does not know of.
    const untagged = hosts.filter(({ tag }) => tag === null);
    const ways = untagged.flatMap(({ mac, vip4, vip6 }) =>
      [vip4, vip6].flatMap((vip) => (vip === null ? [] : [{ vip, mac }])),
    );
    const now = new Set(ways.map(({ vip }) => vip));
    const dev = this.#inner;
    const gone = [...this.#routed].filter((vip) => !now.has(vip));
    const lines = [
      ...gone.flatMap((vip) => [`route del ${vip} dev ${dev} table ${INWARD_TABLE}`, `neigh del ${vip} dev ${dev}`]),
      ...ways.flatMap(({ vip, mac }) => [
        `neigh replace ${vip} lladdr ${mac} dev ${dev} nud permanent`,
        `route replace ${vip} dev ${dev} table ${INWARD_TABLE}`,
      ]),
    ];
    this.#routed = now;
    // What is to be taken away may be gone already, with the cable.
    if (lines.length > 0) await runTool('ip', ['-force', '-batch', '-'], { input: `${lines.join('\n')}\n` });
    await setRoutedHosts(this.#tun, untagged);
  }
}
