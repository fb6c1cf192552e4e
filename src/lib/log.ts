import pino from 'pino';

/** The one way to log: structured lines on stderr, secrets never passed in. */
export type Log = {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
};

export type LogLevel = keyof Log;

/** A logger that names its role in every line. Synchronous, so that the last line before a crash is written. */
export function createLog(role: string, level: LogLevel = 'info'): Log {
  const out = pino(
    {
      level,
      base: { role },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
  return {
    debug: (message, fields = {}) => out.debug(fields, message),
    info: (message, fields = {}) => out.info(fields, message),
    warn: (message, fields = {}) => out.warn(fields, message),
    error: (message, fields = {}) => out.error(fields, message),
  };
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
