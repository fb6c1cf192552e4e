import { fileURLToPath } from 'node:url';
import { until } from './command.ts';
import type { Addresses, Namespace } from './namespace.ts';
import type { Program } from './program.ts';

export type Arrival = { readonly from: string; readonly port: number; readonly text: string };

const agentFile = fileURLToPath(new URL('./udp-agent.ts', import.meta.url));

/** A UDP socket in a namespace. */
export class UdpAgent {
  readonly address: string;
  readonly port: number;
  readonly #program: Program;
  #orders = 0;

  private constructor(program: Program, address: string, port: number) {
    this.#program = program;
    this.address = address;
    this.port = port;
  }

  /** By default on the host's own address. */
  static async start(
    host: Namespace & { readonly addresses?: Addresses },
    port: number,
    address = host.addresses?.v4 ?? host.addresses?.v6 ?? null,
  ): Promise<UdpAgent> {
    if (address === null) throw new Error(`${host.title} has no address`);
    const program = host.spawn([process.execPath, agentFile, address, String(port)]);
    await program.output(/^ready$/m);
    return new UdpAgent(program, address, port);
  }

  async stop(): Promise<void> {
    await this.#program.stop();
  }

  send(to: { readonly address: string; readonly port: number }, text: string): void {
    this.#orders++;
    this.#program.write(`${JSON.stringify({ to: to.address, port: to.port, text })}\n`);
  }

  /** All of them have left. */
  async sent(): Promise<void> {
    const count = () => this.#program.stdout.match(/^sent$/gm)?.length ?? 0;
    await until(() => count() >= this.#orders, { what: `${this.#orders} datagrams to leave` });
  }

  got(text: string): Arrival | undefined {
    const lines = this.#program.stdout.split('\n').filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as Arrival).find((arrival) => arrival.text === text);
  }

  /** Sends until it arrives, as a first packet may wait for neighbour discovery; returns where it came from. */
  async reach(other: UdpAgent, text: string, at: { address: string; port: number } = other): Promise<Arrival> {
    return until(
      () => {
        this.send(at, text);
        return other.got(text);
      },
      { what: `"${text}" at ${other.address}:${other.port}` },
    );
  }
}
