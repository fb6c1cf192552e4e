import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { raise } from '../../../src/lib/errors.ts';
import { silentLog } from '../../../src/lib/log.ts';
import {
  type ControlHandler,
  type ControlServer,
  requestControl,
  serveControl,
} from '../../../src/roles/member/control-socket.ts';

let directory: string;
const servers: ControlServer[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-control-'));
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  rmSync(directory, { recursive: true });
});

async function serve(handle: ControlHandler): Promise<ControlServer> {
  const server = await serveControl(directory, handle, silentLog);
  servers.push(server);
  return server;
}

const ask = (method: string, params: unknown = null): Promise<unknown> => requestControl(directory, { method, params });
const echo: ControlHandler = async (request) => request;

describe('the control socket', () => {
  it('carries requests and results of any size', async () => {
    await serve(echo);
    expect(await ask('status')).toEqual({ method: 'status', params: null });
    const params = { text: 'ä\n'.repeat(20_000) };
    expect(await ask('big', params)).toEqual({ method: 'big', params });
    await serveControl(directory, async () => 'x'.repeat(3_000_000), silentLog).then((server) => servers.push(server));
    expect(await ask('status')).toHaveLength(3_000_000);
  });

  it('answers many at once', async () => {
    await serve(async ({ params }) => params);
    const asked = Array.from({ length: 50 }, (_, i) => i);
    expect(await Promise.all(asked.map((i) => ask('count', i)))).toEqual(asked);
  });

  it('reports progress before the result', async () => {
    await serve(async (_, progress) => {
      for (const reply of [1, 2, 3]) progress(reply);
      return 'done';
    });
    const seen: unknown[] = [];
    const result = await requestControl(directory, { method: 'ping', params: {} }, (value) => seen.push(value));
    expect([seen, result]).toEqual([[1, 2, 3], 'done']);
  });

  it("raises the daemon's own errors with their exit code", async () => {
    await serve(async () => raise('SYS_NO_INTERFACE', { name: 'cyp9' }));
    await expect(ask('status')).rejects.toMatchObject({
      code: 'SYS_NO_INTERFACE',
      exitCode: 1,
      message: expect.stringContaining('cyp9'),
    });
  });

  it('answers what is no request with an error and goes on', async () => {
    await serve(echo);
    const socket = connect(join(directory, 'control.sock')).setEncoding('utf8');
    socket.write('nonsense\n{"params":1}\n');
    let replies = '';
    for await (const chunk of socket) {
      replies += chunk;
      if (replies.split('\n').length > 2) break;
    }
    expect(replies.match(/PEER_INVALID/g)).toHaveLength(2);
    expect(await ask('status')).toMatchObject({ method: 'status' });
  });

  it('hangs up on a line that does not end', async () => {
    await serve(echo);
    const socket = connect(join(directory, 'control.sock'));
    socket.on('error', () => {});
    socket.write('x'.repeat(200_000));
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('tells the daemon that nobody waits any more', async () => {
    const aborted = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    await serve(async (_request, _progress, signal) => {
      signal.addEventListener('abort', () => aborted.resolve());
      started.resolve();
      await aborted.promise;
    });
    const socket = connect(join(directory, 'control.sock'));
    socket.write('{"method":"ping"}\n');
    await started.promise;
    socket.destroy();
    await aborted.promise;
  });

  it('is for its owner only and goes with the daemon', async () => {
    const server = await serve(echo);
    const socket = join(directory, 'control.sock');
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    await server.close();
    servers.pop();
    expect(existsSync(socket)).toBe(false);
    await expect(ask('status')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING', exitCode: 3 });
  });

  it('works in a directory deeper than a socket path may be', async () => {
    const deep = join(directory, ...Array.from({ length: 8 }, () => 'a'.repeat(60)));
    mkdirSync(deep, { recursive: true });
    servers.push(await serveControl(deep, echo, silentLog));
    expect(await requestControl(deep, { method: 'status', params: 1 })).toEqual({ method: 'status', params: 1 });
  });

  it('replaces the socket of a killed daemon', async () => {
    const path = JSON.stringify(join(directory, 'control.sock'));
    const code = `require('net').createServer().listen(${path}, () => console.log('listening'))`;
    const dead = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(dead.stdout, 'data');
    dead.kill('SIGKILL');
    await once(dead, 'exit');
    expect(existsSync(join(directory, 'control.sock'))).toBe(true);
    await expect(ask('status')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' });
    await serve(echo);
    expect(await ask('status')).toMatchObject({ method: 'status' });
  });

  it('says so if the daemon ends before it answers', async () => {
    const asked = Promise.withResolvers<void>();
    const server = await serve(() => {
      asked.resolve();
      return new Promise(() => {});
    });
    const answer = expect(ask('status')).rejects.toMatchObject({ code: 'DAEMON_ENDED', exitCode: 3 });
    await asked.promise;
    servers.pop();
    await server.close();
    await answer;
  });

  it('tells an unusable directory from a daemon that does not run', async () => {
    await expect(requestControl(join(directory, 'none'), { method: 'status', params: null })).rejects.toMatchObject({
      code: 'DAEMON_NOT_RUNNING',
    });
    writeFileSync(join(directory, 'file'), '');
    await expect(requestControl(join(directory, 'file'), { method: 'status', params: null })).rejects.toMatchObject({
      code: 'CONFIG_STATE_DIRECTORY',
      exitCode: 2,
    });
  });
});
