import type { Command } from 'commander';

/** What a command may touch of the process it runs in; `main` makes it, tests make their own. */
export type Context = {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether stdout takes colour (a terminal, NO_COLOR unset). */
  readonly colour: boolean;
  /** One line on stdout. */
  print(line: string): void;
  /** One line on stderr. */
  complain(line: string): void;
  /** All of stdin, for `-` arguments. */
  readStdin(): Promise<string>;
  /** Resolves once the process is asked to stop (SIGTERM, SIGINT). */
  readonly stopped: Promise<void>;
};

/**
 * Each role adds its commands to the program. An action that throws a CyphonicError ends the process with its one line
 * and exit code; options not given on the command line are filled from CYPHONIC_* and the --config file before it runs.
 */
export type Contribution = (program: Command, context: Context) => void;

/** A service that was started: it serves until stopped. */
export type Running = { stop(): Promise<void> };
