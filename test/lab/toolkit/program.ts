import { type ChildProcess, spawn } from 'node:child_process';
import { until } from './command.ts';

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type ProgramOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Given to stdin, which is then closed; without it stdin stays open for `write`. */
  readonly input?: string;
};

/** A program running in the laboratory, in a process group of its own, with its output kept. */
export class Program {
  readonly title: string;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  #exit: Exit | null = null;
  readonly #child: ChildProcess;

  constructor(title: string, argv: readonly string[], options: ProgramOptions = {}) {
    const [file = '', ...args] = argv;
    this.title = title;
    const child = spawn(file, args, {
      detached: true,
      // A proxy of this machine's is none of the laboratory's.
      env: { ...process.env, HTTPS_PROXY: '', ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    if (child.pid === undefined) throw new Error(`cannot start ${argv.join(' ')}`);
    this.pid = child.pid;
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    // A program may end before it read its input.
    child.stdin.on('error', () => {});
    if (options.input !== undefined) child.stdin.end(options.input);
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
  }

  /** How it ended, null while it runs. */
  get exit(): Exit | null {
    return this.#exit;
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits for output that matches; fails at once if the program ends without it. */
  async output(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray> {
    return until(
      () => {
        const found = pattern.exec(this.stdout);
        if (found === null && this.#exit !== null) throw new Error(`it ended before ${pattern}\n${this.report()}`);
        return found;
      },
      { what: `${pattern} from ${this.title}`, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.report()}`);
    });
  }

  /** Waits for the end; a program that does not come to one is killed and reported. */
  async ended(timeoutMs = 60_000): Promise<Exit> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.signal('SIGKILL');
    }, timeoutMs);
    const exit = await this.exited;
    clearTimeout(timer);
    if (late) throw new Error(`it did not end within ${timeoutMs} ms\n${this.report()}`);
    return exit;
  }

  /** Waits for the end; fails unless the exit code is 0. Returns stdout. */
  async done(timeoutMs?: number): Promise<string> {
    const { code } = await this.ended(timeoutMs);
    if (code !== 0) throw new Error(this.report());
    return this.stdout;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#exit !== null) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // Ended in the meantime.
    }
  }

  /** SIGTERM, and SIGKILL if that does not end it in time. */
  async stop(graceMs = 20_000): Promise<Exit> {
    this.signal('SIGTERM');
    const kill = setTimeout(() => this.signal('SIGKILL'), graceMs);
    const exit = await this.exited;
    clearTimeout(kill);
    return exit;
  }

  report(): string {
    const ending = this.#exit === null ? 'running' : `ended: ${this.#exit.signal ?? this.#exit.code}`;
    return `--- ${this.title} (${ending})\n${this.stdout}${this.stderr}`;
  }
}
