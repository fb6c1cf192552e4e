import { fileURLToPath } from 'node:url';
import { until } from '../lab/toolkit/command.ts';
import type { Namespace } from '../lab/toolkit/namespace.ts';
import type { Exit, Program } from '../lab/toolkit/program.ts';

type Reply = { readonly result?: unknown; readonly error?: { readonly code: string | null; readonly message: string } };

export class RemoteError extends Error {
  readonly code: string | null;

  constructor({ code, message }: { readonly code: string | null; readonly message: string }) {
    super(message);
    this.code = code;
  }
}

/** A module whose functions are called in a process of its own inside a namespace. */
export class Remote {
  readonly program: Program;
  #calls = 0;

  constructor(namespace: Namespace, module: string) {
    const agent = fileURLToPath(new URL('agent.ts', import.meta.url));
    this.program = namespace.spawn([process.execPath, agent, module]);
  }

  async call<T>(name: string, ...args: readonly unknown[]): Promise<T> {
    const turn = this.#calls++;
    this.program.write(`${JSON.stringify({ call: name, args })}\n`);
    const line = await until(
      () => {
        if (this.program.exit !== null) throw new Error(`it ended\n${this.program.report()}`);
        const lines = this.program.stdout.split('\n');
        return turn < lines.length - 1 && lines[turn];
      },
      { what: `the answer to ${name}` },
    );
    const { result, error } = JSON.parse(line) as Reply;
    if (error !== undefined) throw new RemoteError(error);
    return result as T;
  }

  /** Asks for nothing more: the process ends unless the module keeps it. */
  async leave(): Promise<Exit> {
    this.program.write('\n');
    return this.program.exited;
  }
}

/** Path of a module of the repository. */
export function modulePath(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
