/** A controller on a network of its own, and raw requests to it. */

import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { silentLog } from '../../../src/lib/log.ts';
import { type Controller, startController } from '../../../src/roles/controller/serve.ts';
import { makeToken, readTokens, writeTokens } from '../../../src/roles/controller/tokens.ts';
import { type NetworkFile, readNetworkFile } from '../../../src/roles/network-files.ts';
import type { Register } from '../../../src/store/register.ts';
import { MemoryShared } from '../../../src/store/shared-memory.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { freePort } from '../cloud/port.ts';
import type { useNetworks } from '../cloud/run.ts';

export type Reply = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered; tests compare it
  readonly body: any;
};

export type Ask = {
  readonly method?: string;
  readonly body?: unknown;
  /** Sent as it is. */
  readonly raw?: string | Buffer;
  readonly token?: string | null;
  readonly headers?: Record<string, string>;
  readonly socket?: TLSSocket;
};

export type Bench = {
  readonly dir: string;
  readonly url: string;
  readonly port: number;
  readonly file: NetworkFile;
  readonly register: Register;
  readonly shared: MemoryShared;
  readonly admin: string;
  readonly reader: string;
  readonly root: string;
  ask(path: string, what?: Ask): Promise<Reply>;
  connect(): Promise<TLSSocket>;
  stop(): Promise<void>;
};

export async function startBench(initNetwork: ReturnType<typeof useNetworks>['initNetwork']): Promise<Bench> {
  const port = await freePort();
  const dir = await initNetwork('--address', '127.0.0.1', '--vip6', 'fd00::/64', '--controller-port', `${port}`);
  const file = readNetworkFile(join(dir, 'cloud.yaml'));
  const reader = makeToken('watch', 'read');
  writeTokens(file.apiTokensFile, [...readTokens(file.apiTokensFile), reader.entry]);
  const register = openSqlite(file.registerFile, file.network);
  const shared = new MemoryShared();
  const controller: Controller = await startController({ file, register, shared, log: silentLog });
  const admin = readFileSync(join(dir, 'api-token'), 'utf8').trim();
  const root = readFileSync(file.tlsRootFile, 'utf8');
  const tls = { host: '127.0.0.1', port, ca: root, servername: 'controller.lab.example' };
  return {
    dir,
    url: `https://127.0.0.1:${port}`,
    port,
    file,
    register,
    shared,
    admin,
    reader: reader.token,
    root,
    ask: (path, what = {}) => exchange({ ...tls, path }, admin, what),
    connect: () =>
      new Promise((resolve, reject) => {
        const socket = connect({ ...tls, minVersion: 'TLSv1.3' }, () => resolve(socket));
        socket.once('error', reject);
      }),
    async stop() {
      await controller.stop();
      await register.close();
    },
  };
}

function exchange(target: object, admin: string, { method = 'GET', ...what }: Ask): Promise<Reply> {
  const { token = admin, body, raw = body === undefined ? undefined : JSON.stringify(body), socket } = what;
  return new Promise((resolve, reject) => {
    const sent = request({
      ...target,
      method,
      ...(socket === undefined ? { agent: false } : { createConnection: () => socket }),
      headers: {
        ...(token !== null && { Authorization: `Bearer ${token}` }),
        ...(raw !== undefined && { 'Content-Type': 'application/json' }),
        ...what.headers,
      },
    });
    sent.on('error', reject);
    sent.on('response', async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode!, headers: response.headers, body: text === '' ? null : JSON.parse(text) });
    });
    sent.end(raw);
  });
}
