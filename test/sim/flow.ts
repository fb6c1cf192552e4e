/** Draws what two devices and the cloud said to one another, as a mermaid sequence diagram. */

import { formatEndpoint } from '../../src/lib/ip.ts';
import { readEnvelope } from '../../src/proto/codec.ts';
import { Flag } from '../../src/proto/messages.ts';
import type { Host, Journey } from './network.ts';

type Line = { readonly at: number; readonly text: string; readonly id: string | null };

export class Flow {
  readonly #ends: readonly string[];
  readonly #lines: Line[] = [];
  readonly #others = new Set<string>();

  /** Names of the two hosts to follow. */
  constructor(first: string, second: string) {
    this.#ends = [first, second];
  }

  journey({ sentAt, from, to, datagram, receiver, fate }: Journey): void {
    if (!this.#concerns(from) && (receiver === null || !this.#concerns(receiver))) return;
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return;
    const { type, flags, transactionId, id, epoch, sequence } = envelope;
    const target = receiver?.name ?? 'nowhere';
    for (const name of [from.name, target]) if (!this.#ends.includes(name)) this.#others.add(name);
    const marks = Object.entries(Flag)
      .filter(([, bit]) => (flags & bit) !== 0)
      .map(([name]) => name);
    const asked = envelope.options.challenge === undefined ? '' : ' challenge';
    const echoed = envelope.options.echo === undefined ? '' : ' echo';
    const text = `${type} ${marks.join(' ')}${asked}${echoed} no ${sequence} of ${transactionId.toString(16)} epoch ${epoch} id ${id.slice(0, 6)}`;
    const arrow = fate === 'delivered' ? '->>' : '--x';
    const where = `${formatEndpoint(to)}${fate === 'delivered' ? '' : ` ${fate}`}`;
    this.#lines.push({ at: sentAt, text: `${from.name}${arrow}${target}: ${stamp(sentAt)} ${text} to ${where}`, id });
  }

  note(at: number, host: Host, text: string): void {
    if (!this.#concerns(host)) return;
    this.#lines.push({ at, text: `Note over ${host.name}: ${stamp(at)} ${text.replaceAll(/[;#\n]/g, ' ')}`, id: null });
  }

  /** Only the datagrams with these ids: those of the two devices and of their paths. */
  draw(ids: ReadonlySet<string>): string {
    const lines = this.#lines.filter(({ id }) => id === null || ids.has(id)).sort((a, b) => a.at - b.at);
    const participants = [...this.#ends, ...this.#others].map((name) => `  participant ${name}`);
    return ['sequenceDiagram', ...participants, ...lines.map(({ text }) => `  ${text}`), ''].join('\n');
  }

  #concerns(host: Host): boolean {
    return this.#ends.includes(host.name);
  }
}

function stamp(ms: number): string {
  return `${(ms / 1000).toFixed(3)}s`;
}
