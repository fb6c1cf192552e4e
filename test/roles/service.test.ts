/** NMS and TRS on real ports of this machine, between nodes on real sockets. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { nodePrimitives } from '../../src/crypto/node.ts';
import type { ServiceRole } from '../../src/lib/device.ts';
import { type Endpoint, parsePrefix } from '../../src/lib/ip.ts';
import { silentLog } from '../../src/lib/log.ts';
import type { MessageOf } from '../../src/proto/codec.ts';
import { Flag, NoticeReason, ProcessCode } from '../../src/proto/messages.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { encodeKey, type ServiceFile } from '../../src/roles/network-files.ts';
import { startNms } from '../../src/roles/nms/serve.ts';
import type { RunningService } from '../../src/roles/service.ts';
import { startTrs } from '../../src/roles/trs/serve.ts';
import { MemoryShared } from '../../src/store/shared-memory.ts';
import { readClock } from '../../src/sys/clock.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { Cloud, type FakeRegister } from '../core/support/cloud.ts';
import { FakeNode } from '../core/support/node.ts';
import { eventually } from '../support/eventually.ts';
import { freeUdpPorts } from './cloud/port.ts';

const LOOPBACK = '127.0.0.1';
const network = { domain: 'lab.example', range4: parsePrefix('100.80.0.0/16')!, range6: parsePrefix('fd00:1::/64')! };
const primitives = nodePrimitives(evpAead);

let directory: string;
let register: FakeRegister;
let watchers: (() => void)[];
let sockets: Socket[];
let running: RunningService[];
/** Only its devices. */
let cloud: Cloud;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-service-'));
  cloud = new Cloud();
  register = cloud.register;
  register.services = [];
  watchers = [];
  sockets = [];
  running = [];
});

afterEach(async () => {
  for (const service of running.reverse()) await service.stop();
  for (const socket of sockets) socket.close();
  rmSync(directory, { recursive: true });
});

async function openSocket(): Promise<Socket & { readonly endpoint: Endpoint }> {
  const socket = createSocket('udp4');
  socket.bind(0, LOOPBACK);
  await once(socket, 'listening');
  return Object.assign(socket, { endpoint: { address: LOOPBACK, port: (socket.address() as AddressInfo).port } });
}

async function start(role: ServiceRole): Promise<Endpoint> {
  const [port] = (await freeUdpPorts(1)) as [number];
  const keys = primitives.x25519Generate();
  const keyFile = join(directory, `${role}.key`);
  writeFileSync(keyFile, `${encodeKey(keys.privateKey)}\n`);
  const file: ServiceFile = {
    role,
    name: role,
    nodeId: primitives.random(16).toHex(),
    address4: LOOPBACK,
    address6: null,
    port,
    tls: null,
    keyFile,
    registerFile: '',
    shared: null,
    behindBalancer: false,
    noPortPrediction: false,
    metrics: null,
    network,
  };
  const { name, nodeId, address4, address6 } = file;
  register.services.push({ name, role, nodeId, publicKey: keys.publicKey, address4, address6, port, tlsPort: null });
  const access = {
    query: async (query: Parameters<FakeRegister['answer']>[0]) => register.answer(query)!,
    change: async () => 'saved' as const,
    watch(callback: (revision: number) => void) {
      watchers.push(() => callback(register.revision));
      return () => {};
    },
  };
  const options = { file, register: access, shared: new MemoryShared(), log: silentLog, loopback: true };
  running.push(await { nms: startNms, trs: startTrs }[role](options));
  for (const look of watchers) look();
  return { address: LOOPBACK, port };
}

async function openNode(name: string, nms: Endpoint): Promise<FakeNode & { readonly raw: Buffer[] }> {
  const socket = await openSocket();
  sockets.push(socket);
  const raw: Buffer[] = [];
  const host = {
    get now() {
      return readClock();
    },
    primitives: () => primitives,
    send: (_: Endpoint, to: Endpoint, datagram: Uint8Array) => socket.send(datagram, to.port, to.address),
  };
  const node = Object.assign(new FakeNode(host, cloud.addDevice(name), socket.endpoint, socket.endpoint, nms), { raw });
  socket.on('message', (datagram, { address, port }) => {
    raw.push(datagram);
    node.receive(new Uint8Array(datagram), { address, port });
  });
  return node;
}

async function answerOf(node: FakeNode, ask: () => unknown): Promise<NonNullable<FakeNode['latest']>> {
  ask();
  return vi.waitFor(() => node.latest ?? Promise.reject(new RangeError('no answer')), { timeout: 10_000, interval: 5 });
}

describe('the services on their ports', () => {
  it('register, direct, relay and revoke', async () => {
    const trs = await start('trs');
    const nms = await start('nms');
    const [a, b] = [await openNode('a', nms), await openNode('b', nms)];
    expect(await answerOf(a, () => a.register())).toMatchObject({ options: { mapped: { endpoint: a.mapped } } });
    await answerOf(b, () => b.register());

    const direction = (await answerOf(a, () =>
      a.direct('b.lab.example', '1'.repeat(32)),
    )) as MessageOf<'routeDirection'>;
    // Loopback addresses are told to nobody, so that only the relay is left.
    expect(direction).toMatchObject({
      flags: Flag.response,
      body: { processCode: ProcessCode.relay, trs4: LOOPBACK },
      options: { candidates: { list: [] }, relayPorts: { port: trs.port } },
    });

    await answerOf(a, () => a.bind(direction, SenderKind.initiator, trs));
    await answerOf(b, () => b.bind(b.directed[0]!, SenderKind.responder, trs));
    const id = direction.body.pathId;
    const [relayed] = a
      .path(direction, SenderKind.initiator)
      .seal({ type: 'holePunching', id, transactionId: 7, flags: Flag.relayed, body: {} });
    const before = b.raw.length;
    await eventually(() => {
      sockets[0]!.send(relayed!, trs.port, trs.address);
      expect(b.raw.slice(before).some((datagram) => datagram.equals(relayed!))).toBe(true);
    });

    register.remove(b.device.nodeId);
    for (const look of watchers) look();
    await eventually(() => {
      expect(a.notices).toContainEqual({ reason: NoticeReason.peerRevoked, subject: b.device.nodeId });
      expect(b.notices).toContainEqual({ reason: NoticeReason.refused, subject: b.device.nodeId });
    });
    const [ofTrs, ofNms] = running.map((service) => service.counters());
    expect(ofNms).toMatchObject({ registrations: 2 });
    expect(Object.keys(ofNms!).filter((name) => name.startsWith('directed-'))).toHaveLength(1);
    expect(ofTrs).toMatchObject({ announcements: 1, bindings: 2 });
  });

  it('count what they drop and go on', async () => {
    const nms = await start('nms');
    const a = await openNode('a', nms);
    for (let i = 0; i < 100; i++) sockets[0]!.send(primitives.random(20 + i), nms.port, nms.address);
    await answerOf(a, () => a.register());
    const dropped = Object.entries(running[0]!.counters()).filter(([name]) => name.includes('drop-'));
    expect(dropped.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(0);
  });
});
