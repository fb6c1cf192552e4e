/** Errors as the controller answers them: problem details (RFC 9457). */

import { CyphonicError, type ErrorCode } from '../../lib/errors.ts';

export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** For our own client, which shows the same line as a command on the register itself would. */
  readonly code?: ErrorCode;
  readonly details?: Readonly<Record<string, unknown>>;
};

/** What the caller brought about; every other code is ours. */
const known: Partial<Record<ErrorCode, readonly [status: number, title: string]>> = {
  USAGE_VALUE: [422, 'Not a value for this field'],
  REGISTER_UNKNOWN_DEVICE: [404, 'No such device'],
  REGISTER_DEVICE_EXISTS: [409, 'Device exists'],
  REGISTER_MAC_EXISTS: [409, 'MAC address exists'],
  REGISTER_NOT_ADAPTER: [409, 'Not an adapter'],
  REGISTER_ADAPTER_IN_USE: [409, 'Adapter in use'],
  REGISTER_GENERAL_NODE: [409, 'General node'],
  SYS_PATHS_UNKNOWN: [503, 'Not available'],
  REGISTER_RANGE_FULL: [409, 'No virtual address left'],
};

const titles = {
  'bad-request': [400, 'Bad request'],
  unauthorised: [401, 'Who are you?'],
  forbidden: [403, 'Not permitted'],
  'not-found': [404, 'Not found'],
  'method-not-allowed': [405, 'Method not allowed'],
  'too-large': [413, 'Request too large'],
  'media-type': [415, 'Not JSON'],
  invalid: [422, 'Not what the document says'],
  'too-many-requests': [429, 'Too many requests'],
  internal: [500, 'Internal error'],
  unavailable: [503, 'Not available'],
} as const satisfies Record<string, readonly [number, string]>;

export function problem(name: keyof typeof titles, detail: string): Problem {
  const [status, title] = titles[name];
  return { type: `urn:cyphonic:problem:${name}`, title, status, detail };
}

/** Null: the error is a fault of ours, for the log only. */
export function problemOf(error: unknown): Problem | null {
  if (!(error instanceof CyphonicError)) return null;
  const { code, details, message } = error;
  if (code === 'SYS_REGISTER') return problem('unavailable', 'The register cannot be used now; try again later.');
  const meaning = known[code];
  if (meaning === undefined) return null;
  const [status, title] = meaning;
  const type = `urn:cyphonic:problem:${code.toLowerCase().replaceAll('_', '-')}`;
  return { type, title, status, detail: message, code, details };
}
