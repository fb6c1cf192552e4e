/**
 * The one way to raise an error. The prefix of a code says who is at fault and thereby the exit code:
 * USAGE_ and CONFIG_ the caller (2), DAEMON_ no daemon (3), REFUSED_ the network's answer (4),
 * SYS_ the system (1), PEER_ the other end (1), BUG_ ourselves (1).
 * A template says what, why and what to do; `{name}` is filled from the details.
 */
export const errorTable = {
  BUG_UNREACHABLE: 'internal error: {what}; please report it',
  BUG_ENCODING: 'internal error: {what} has no form on the wire; please report it',
  CONFIG_STATE_DIRECTORY: 'state directory {directory} cannot be used: {why}; choose another one or correct its owner and mode',
  CONFIG_INVALID: '{file}: {why}; correct the file',
  SYS_CALL: '{call} failed: {errno}{hint}',
  SYS_LIBRARY: 'cannot load {name} ({why}); install that library or use the Node version in package.json',
  SYS_ADDON: 'cannot load the built-in addon {name} ({why}); set TMPDIR to a writable directory mounted without noexec',
  PEER_INVALID: 'the other side sent something invalid: {what}',
} as const;

export type ErrorCode = keyof typeof errorTable;

const exitCodes: Record<string, number> = { USAGE: 2, CONFIG: 2, DAEMON: 3, REFUSED: 4 };

export class CyphonicError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, details: Record<string, unknown> = {}, cause?: unknown) {
    super(
      errorTable[code].replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? '')),
      cause === undefined ? undefined : { cause },
    );
    this.name = 'CyphonicError';
    this.code = code;
    this.details = details;
  }

  /** Process exit code for this error, see the table in the interface documentation. */
  get exitCode(): number {
    return exitCodes[this.code.slice(0, this.code.indexOf('_'))] ?? 1;
  }
}

/** Throws; typed `never` so that it can stand where a value is expected. */
export function raise(code: ErrorCode, details: Record<string, unknown> = {}, cause?: unknown): never {
  throw new CyphonicError(code, details, cause);
}
