/** Where a TRS takes datagrams over TLS: what goes through, what does not, and how much of it. */

import { X509Certificate } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, type Socket as TcpSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { connect, createServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StreamState } from '../../../src/core/node/streams.ts';
import { issueTlsServer, makeTlsRoot } from '../../../src/crypto/tls-certificate.ts';
import { concat } from '../../../src/lib/bytes.ts';
import { type Endpoint, parsePrefix } from '../../../src/lib/ip.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { FRAME_HEAD, FrameReader, MAX_FRAME, writeFrameHead } from '../../../src/net/frames.ts';
import { Flag } from '../../../src/proto/messages.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { Carriers } from '../../../src/roles/member/carriers.ts';
import { startTerminal, type Terminal } from '../../../src/roles/trs/terminal.ts';
import { eventually } from '../../support/eventually.ts';
import { freePort } from '../cloud/port.ts';
import { startProxy } from '../member/proxy.ts';

const LOOPBACK = '127.0.0.1';
const limits = { strangersPerSite: 3 };

let directory: string;
let root: string;
let port: number;
let trs: Socket;
let nms: Socket;
let as: TlsServer;
let terminal: Terminal;
let clients: TLSSocket[];

async function udp(): Promise<Socket> {
  const socket = createSocket('udp4').bind(0, LOOPBACK);
  await once(socket, 'listening');
  return socket;
}

const portOf = (socket: Socket): number => (socket.address() as AddressInfo).port;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-terminal-'));
  const ca = await makeTlsRoot('lab.example', Date.now());
  const server = await issueTlsServer(ca, ['trs.lab.example'], [], Date.now());
  const other = await issueTlsServer(ca, ['as.lab.example'], [], Date.now());
  as = createServer({ cert: other.certificate, key: other.privateKey });
  root = ca.certificate;
  port = await freePort();
  const tls = { port, certificateFile: join(directory, 'cert'), keyFile: join(directory, 'key') };
  writeFileSync(tls.certificateFile, server.certificate);
  writeFileSync(tls.keyFile, server.privateKey);
  [trs, nms] = [await udp(), await udp()];
  clients = [];
  const network = { domain: 'lab.example', range4: parsePrefix('100.80.0.0/16')!, range6: parsePrefix('fd00::/64')! };
  const file = {
    ...{ role: 'trs' as const, name: 'trs', nodeId: '1'.repeat(32), address4: LOOPBACK, address6: null, port: 1, tls },
    ...{
      keyFile: '',
      registerFile: '',
      metrics: null,
      shared: null,
      behindBalancer: false,
      noPortPrediction: false,
      network,
    },
  };
  const others = new Map([['as.lab.example', (socket: TcpSocket) => void as.emit('connection', socket)]]);
  terminal = await startTerminal({ addresses: file, tls, udpPort: portOf(trs), log: silentLog, others, limits });
  update();
});

/** The register's list, read anew. */
function update(): void {
  const service = { nodeId: '', publicKey: new Uint8Array(32), address4: LOOPBACK, address6: null, tlsPort: null };
  terminal.update([{ ...service, name: 'nms', role: 'nms', port: portOf(nms) }]);
}

afterEach(async () => {
  for (const client of clients) client.destroy();
  await terminal.stop();
  trs.close();
  nms.close();
  rmSync(directory, { recursive: true });
});

async function client(servername = 'trs.lab.example'): Promise<TLSSocket> {
  const socket = connect({ host: LOOPBACK, port, ca: root, servername, minVersion: 'TLSv1.3' });
  clients.push(socket);
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return socket;
}

function frame(datagram: Uint8Array): Uint8Array {
  const head = new Uint8Array(FRAME_HEAD);
  writeFrameHead(head, 0, datagram.length);
  return concat(head, datagram);
}

/** A Keep Alive with only what is looked at: flags and the kind of its sender. */
function keepAlive(kind: number | null, flags = 0): Uint8Array {
  const datagram = new Uint8Array(kind === null ? 48 : 72);
  datagram.set([0, 0, 0, 1, 1, flags, 6, 0, 0, 0, 0, 1, 0, datagram.length, kind === null ? 0 : 1, 0]);
  if (kind !== null) datagram.set([0, 3, kind], 32);
  return datagram;
}

const received = async (socket: Socket): Promise<[Buffer, { port: number }]> =>
  (await once(socket, 'message')) as [Buffer, { port: number }];

describe('datagrams over TLS', () => {
  it('go to the NMS or the TRS, by who sends them, and answers come back', async () => {
    const socket = await client();
    const answers: Uint8Array[] = [];
    const reader = new FrameReader();
    socket.on('data', (chunk: Buffer) => reader.push(chunk, (datagram) => answers.push(datagram)));
    for (const [target, datagram] of [
      [nms, keepAlive(SenderKind.node)],
      [trs, keepAlive(SenderKind.initiator)],
      [trs, keepAlive(SenderKind.responder)],
      [trs, keepAlive(null, Flag.relayed)],
    ] as const) {
      const arrived = received(target);
      socket.write(frame(datagram));
      const [octets, from] = await arrived;
      expect(new Uint8Array(octets)).toEqual(datagram);
      target.send(Uint8Array.of(answers.length + 1), from.port, LOOPBACK);
      const count = answers.length + 1;
      await eventually(() => expect(answers).toHaveLength(count));
    }
    expect(answers.map(([octet]) => octet)).toEqual([1, 2, 3, 4]);
    // A change of the register, whatever it is about, changes no port.
    const ports: number[] = [];
    for (let i = 0; i < 2; i++) {
      update();
      const arrived = received(nms);
      socket.write(frame(keepAlive(SenderKind.node)));
      ports.push((await arrived)[1].port);
    }
    expect(ports[0]).toBe(ports[1]);
  });

  it('go nowhere else, and nobody else is heard', async () => {
    const socket = await client();
    const heard: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    const arrived = received(nms);
    const unfit = [keepAlive(SenderKind.prober), keepAlive(SenderKind.nms), keepAlive(SenderKind.trs), keepAlive(null)];
    for (const datagram of unfit) socket.write(frame(datagram));
    socket.write(frame(new Uint8Array(100).fill(0xff)));
    socket.write(frame(keepAlive(SenderKind.node)));
    // What came before it in the stream was looked at before it.
    const [octets, from] = await arrived;
    expect(new Uint8Array(octets)).toEqual(keepAlive(SenderKind.node));
    await eventually(() =>
      expect(terminal.counters()).toMatchObject({
        'stream-drop-sender-kind': 3,
        'stream-drop-no-instance': 1,
        'stream-drop-version': 1,
      }),
    );
    const stranger = await udp();
    stranger.send('stranger', from.port, LOOPBACK);
    nms.send('nms', from.port, LOOPBACK);
    await eventually(() => expect(Buffer.concat(heard).toString('latin1')).toContain('nms'));
    expect(Buffer.concat(heard).toString('latin1')).not.toContain('stranger');
    stranger.close();
  });

  it('end with the first frame that is none', async () => {
    const socket = await client();
    const closed = once(socket, 'close');
    socket.write(Uint8Array.of((MAX_FRAME + 1) >> 8, (MAX_FRAME + 1) & 255, 0));
    await closed;
    expect(socket.destroyed).toBe(true);
  });

  it('are answered by a heartbeat when they are empty', async () => {
    const socket = await client();
    const answer = once(socket, 'data');
    socket.write(frame(new Uint8Array(0)));
    expect([...((await answer)[0] as Buffer)]).toEqual([0, 0]);
  });
});

describe('connections', () => {
  it('that ask for another server of the process are handed to it whole, and cost the terminal nothing', async () => {
    const seen: (number | undefined)[] = [];
    as.on('secureConnection', (socket) => {
      seen.push(socket.remotePort);
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    // More than the terminal has places for strangers.
    for (let i = 1; i <= 5; i++) {
      const socket = await client('AS.lab.example');
      const echo = once(socket, 'data');
      socket.write(`hello ${i}`);
      expect(String((await echo)[0])).toBe(`hello ${i}`);
      expect(seen).toHaveLength(i);
      expect(seen.at(-1)).toBe(socket.localPort);
    }
    await eventually(() => expect(terminal.counters()).toMatchObject({ 'connections-handed-on': 5 }));
    expect(terminal.connections).toBe(0);
  });

  it('whose first octets come one by one, or are none of TLS, are treated as any', async () => {
    const slow = connectTcp(port, LOOPBACK);
    const noise = connectTcp(port, LOOPBACK);
    await Promise.all([once(slow, 'connect'), once(noise, 'connect')]);
    const ended = once(noise.resume(), 'close');
    noise.on('error', () => {});
    noise.write('GET / HTTP/1.1\r\n\r\n');
    await ended;
    const [near, far] = duplexPair();
    near.on('data', async (chunk: Buffer) => {
      for (const octet of chunk) slow.write(Uint8Array.of(octet));
    });
    slow.setNoDelay(true);
    slow.on('data', (chunk) => near.write(chunk));
    const tls = connect({ socket: far, ca: root, servername: 'as.lab.example' });
    const accepted = once(as, 'secureConnection');
    await once(tls, 'secureConnect');
    expect((await accepted)[0].remotePort).toBe(slow.localPort);
    slow.destroy();
  });

  it('that nobody believes are few, and one that is believed makes room', async () => {
    const first = await client();
    await client();
    await client();
    await expect(client()).rejects.toThrow();
    const arrived = received(nms);
    first.write(frame(keepAlive(SenderKind.node)));
    const [, from] = await arrived;
    const answered = once(first, 'data');
    nms.send(keepAlive(SenderKind.nms), from.port, LOOPBACK);
    await answered;
    await client();
    expect(clients.filter((socket) => !socket.destroyed)).toHaveLength(4);
  });
});

describe("a node's stream", () => {
  const states: StreamState[] = [];
  const watcher = { streamed: (_: Endpoint, state: StreamState) => void states.push(state) };
  let node: Socket;
  let local: Endpoint | null;
  let carriers: Carriers;

  async function begin(environment: Record<string, string>, domain = 'lab.example'): Promise<StreamState> {
    node = await udp();
    local = null;
    states.length = 0;
    const carry = (_: Endpoint, to: Endpoint | null): void => {
      local = to;
    };
    const plane = { localPort: portOf(node), carry };
    const tlsRoot = new Uint8Array(new X509Certificate(root).raw);
    carriers = new Carriers({ plane, tlsRoot, domain, environment, nat64: () => null, log: silentLog });
    carriers.connect({ address: LOOPBACK, port, over: 'tls' }, watcher);
    await eventually(() => expect(states).toHaveLength(1));
    return states[0]!;
  }

  afterEach(async () => {
    await carriers.stop();
    node.close();
  });

  async function expectCarried(): Promise<void> {
    const arrived = received(nms);
    node.send(keepAlive(SenderKind.node), local!.port, LOOPBACK);
    const [octets, from] = await arrived;
    expect(new Uint8Array(octets)).toEqual(keepAlive(SenderKind.node));
    const answered = received(node);
    nms.send('answer', from.port, LOOPBACK);
    expect(String((await answered)[0])).toBe('answer');
  }

  it('carries datagrams there and back', async () => {
    expect(await begin({})).toEqual({ open: true });
    await expectCarried();
  });

  it('does so through an HTTP proxy', async () => {
    const proxy = await startProxy(200);
    expect(await begin({ HTTPS_PROXY: `http://${LOOPBACK}:${proxy.port}` })).toEqual({ open: true });
    await expectCarried();
    expect(proxy.asked).toEqual([`${LOOPBACK}:${port}`]);
    proxy.close();
  });

  it('says why there is none: a proxy that refuses, another network', async () => {
    const proxy = await startProxy(403);
    const why = expect.stringContaining(`lets nobody to ${LOOPBACK}:${port} (403)`);
    expect(await begin({ https_proxy: `${LOOPBACK}:${proxy.port}` })).toEqual({ why });
    proxy.close();
    await carriers.stop();
    node.close();
    expect(await begin({}, 'other.example')).toEqual({ why: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });

  it('ends when the TRS does, and says so', async () => {
    await begin({});
    await terminal.stop();
    await eventually(() => expect(states).toHaveLength(2));
    expect(local).toBe(null);
  });
});
