/**
 * The daemon's control socket: a Unix socket file in the state directory, so that it is reached from any network
 * namespace. One JSON object a line: a request {method, params}; back come any number of {progress} and at last one
 * {result} or {error: {code, details}} of the error table.
 */

import { chmodSync, closeSync, constants, existsSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CyphonicError, type ErrorCode, errorTable, raise } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';

const SOCKET = 'control.sock';
/** Requests are small; a line that isn't, isn't one. */
const MAX_REQUEST = 65536;

export type ControlRequest = { readonly method: string; readonly params: unknown };

/** Answers one request. `aborted` tells that nobody waits for the answer any more. */
export type ControlHandler = (
  request: ControlRequest,
  progress: (value: unknown) => void,
  aborted: AbortSignal,
) => Promise<unknown>;

export type ControlServer = { close(): Promise<void> };

type ReplyError = { readonly code: string; readonly details: Record<string, unknown> };
type Reply = { readonly progress?: unknown; readonly result?: unknown; readonly error?: ReplyError };

/** Serves the socket, in place of one that a killed daemon left. The caller holds the directory's lock. */
export async function serveControl(directory: string, handle: ControlHandler, log: Log): Promise<ControlServer> {
  const place = openDirectory(directory);
  rmSync(place.socket, { force: true });
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    socket.on('error', (error) => log.debug('control connection failed', { why: error.message }));
    serveConnection(socket, handle, log);
  });
  await listening(server, place.socket).catch((cause: NodeJS.ErrnoException) => {
    place.close();
    raise('CONFIG_STATE_DIRECTORY', { directory, why: cause.code }, cause);
  });
  chmodSync(place.socket, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        // Closing the server removes the file, for which the directory has to be open still.
        server.close(() => {
          place.close();
          resolve();
        });
        for (const socket of connections) socket.end(() => socket.destroy());
      }),
  };
}

/** Removes the socket that a killed daemon left; whether there was one. */
export function clearControl(directory: string): boolean {
  const left = existsSync(join(directory, SOCKET));
  rmSync(join(directory, SOCKET), { force: true });
  return left;
}

/** One request to the daemon of this directory and its result. Raises the daemon's own errors, and DAEMON_NOT_RUNNING. */
export async function requestControl(
  directory: string,
  request: ControlRequest,
  onProgress: (value: unknown) => void = () => {},
): Promise<unknown> {
  const socket = await reach(directory);
  try {
    socket.write(`${JSON.stringify(request)}\n`);
    for await (const line of createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })) {
      const reply = JSON.parse(line) as Reply;
      if (reply.error !== undefined) raiseReply(reply.error);
      if ('result' in reply) return reply.result;
      onProgress(reply.progress);
    }
  } finally {
    socket.destroy();
  }
  return raise('DAEMON_ENDED', { directory });
}

/**
 * A socket's path has room for 107 octets (unix(7)) and a state directory may be deeper: it is reached through a
 * descriptor of the directory instead.
 */
function openDirectory(directory: string): { readonly socket: string; close(): void } {
  try {
    const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    return { socket: join('/proc/self/fd', String(fd), SOCKET), close: () => closeSync(fd) };
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code;
    if (why === 'ENOENT') raise('DAEMON_NOT_RUNNING', { directory }, cause);
    return raise('CONFIG_STATE_DIRECTORY', { directory, why }, cause);
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

function serveConnection(socket: Socket, handle: ControlHandler, log: Log): void {
  const aborted = new AbortController();
  const send = (reply: Reply): void => {
    if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
  };
  let pending = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (pending + chunk).split('\n');
    pending = lines.pop()!;
    if (pending.length > MAX_REQUEST) socket.destroy();
    for (const line of lines) void answer(line, handle, send, aborted.signal, log);
  });
  socket.once('close', () => aborted.abort());
}

async function answer(
  line: string,
  handle: ControlHandler,
  send: (reply: Reply) => void,
  aborted: AbortSignal,
  log: Log,
): Promise<void> {
  try {
    const result = await handle(parseRequest(line), (progress) => send({ progress }), aborted);
    send({ result: result ?? null });
  } catch (error) {
    if (!(error instanceof CyphonicError)) log.error('control request failed', { why: String(error) });
    const { code, details } =
      error instanceof CyphonicError ? error : new CyphonicError('BUG_UNREACHABLE', { what: String(error) });
    send({ error: { code, details } });
  }
}

function parseRequest(line: string): ControlRequest {
  try {
    const { method, params } = JSON.parse(line) as Partial<ControlRequest>;
    if (typeof method === 'string') return { method, params };
  } catch {
    // Falls through to the error below.
  }
  return raise('PEER_INVALID', { what: 'a control request that is none' });
}

function reach(directory: string): Promise<Socket> {
  const place = openDirectory(directory);
  return new Promise<Socket>((resolve, reject) => {
    const socket = connect(place.socket);
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  })
    .catch((cause: NodeJS.ErrnoException) => {
      // Reset: it was about to end and took us no more.
      const absent = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET'].includes(cause.code ?? '');
      if (absent) raise('DAEMON_NOT_RUNNING', { directory }, cause);
      return raise('CONFIG_STATE_DIRECTORY', { directory, why: cause.code }, cause);
    })
    .finally(() => place.close());
}

function raiseReply({ code, details }: ReplyError): never {
  if (Object.hasOwn(errorTable, code)) raise(code as ErrorCode, details);
  return raise('PEER_INVALID', { what: `an error ${code} of another version of the daemon` });
}
