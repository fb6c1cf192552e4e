/** An HTTP proxy that opens tunnels, or refuses to. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export type TestProxy = {
  readonly port: number;
  /** Where tunnels were asked for. */
  readonly asked: readonly string[];
  close(): void;
};

/** Answers every CONNECT with this status. */
export async function startProxy(status: number): Promise<TestProxy> {
  const asked: string[] = [];
  const server = createServer((near: Socket) => {
    near.on('error', () => {});
    near.once('data', (request: Buffer) => {
      const [, host = '', port = ''] = /^CONNECT ([\d.]+):(\d+) /.exec(request.toString('latin1')) ?? [];
      asked.push(`${host}:${port}`);
      near.write(`HTTP/1.1 ${status} Said\r\n\r\n`);
      if (status !== 200) return;
      const far = connect(Number(port), host);
      far.on('error', () => near.destroy());
      near.on('error', () => far.destroy());
      near.pipe(far).pipe(near);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, asked, close: () => server.close() };
}
