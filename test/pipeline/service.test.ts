import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/lib/ip.ts';
import { silentLog } from '../../src/lib/log.ts';
import { openServicePort, type ServicePort, type ServicePortOptions } from '../../src/pipeline/service.ts';
import { eventually } from '../support/eventually.ts';

const PATH = '5a'.repeat(16);
const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

async function service(
  options: Partial<ServicePortOptions> = {},
): Promise<ServicePort & { received: [string, Endpoint][] }> {
  const received: [string, Endpoint][] = [];
  const port = await openServicePort({
    address4: '127.0.0.1',
    address6: null,
    port: 0,
    relay: false,
    overlay: [],
    loopback: true,
    log: silentLog,
    onDatagram: (datagram, from) => received.push([datagram.toHex(), from]),
    onFailure: (error) => expect.unreachable(String(error)),
    ...options,
  });
  open.push(port);
  return Object.assign(port, { received });
}

async function client(type: 'udp4' | 'udp6' = 'udp4'): Promise<Socket & { received: string[]; endpoint: Endpoint }> {
  const socket = createSocket(type);
  const address = type === 'udp4' ? '127.0.0.1' : '::1';
  socket.bind(0, address);
  await once(socket, 'listening');
  open.push(socket);
  const received: string[] = [];
  socket.on('message', (message) => received.push(message.toHex()));
  return Object.assign(socket, { received, endpoint: { address, port: socket.address().port } });
}

function datagram(flags = 0, length = 64): Uint8Array {
  const octets = new Uint8Array(length).fill(7, 32);
  octets.set([1, flags, 6, 0, 0, 0, 0, 1, 0, length], 4);
  octets.set(Uint8Array.fromHex(PATH), 16);
  return octets;
}

describe('a service port', () => {
  it('hands over datagrams with their source and sends answers, in both families', async () => {
    const port = await service({ address6: '::1' });
    for (const type of ['udp4', 'udp6'] as const) {
      const device = await client(type);
      device.send(datagram(), port.localPort, device.endpoint.address);
      await eventually(() => expect(port.received.splice(0)).toEqual([[datagram().toHex(), device.endpoint]]));
      port.send(device.endpoint, Uint8Array.of(1, 2, 3));
      await eventually(() => expect(device.received).toEqual(['010203']));
    }
    expect(port.counters()).toMatchObject({ udpReceivedDatagrams: 2, udpSentDatagrams: 2, handedOver: 2 });
  });

  it('sends all that one turn brings about, in order, beside what cannot be sent', async () => {
    const port = await service();
    const [a, b] = [await client(), await client()];
    const numbers = Array.from({ length: 150 }, (_, i) => Uint8Array.of(i));
    for (const number of numbers) {
      port.send(a.endpoint, number);
      // A family that it has no socket of.
      if (number[0]! % 50 === 0) port.send({ address: '::1', port: 9 }, new Uint8Array(1_000));
      port.send(b.endpoint, number);
    }
    const all = numbers.map((number) => number.toHex());
    await eventually(() => expect([a.received, b.received]).toEqual([all, all]));
    expect(port.counters()).toMatchObject({ udpSentDatagrams: 300, udpSentBytes: 300 });
    expect(port.drops).toEqual({ 'not-sent': 3 });
  });

  it('filters garbage before the main thread and counts it', async () => {
    const port = await service();
    const device = await client();
    const wrong = [
      datagram().with(4, 9),
      datagram().with(6, 99),
      datagram().with(7, 1),
      datagram().with(13, 1),
      new Uint8Array(3),
    ];
    for (const octets of wrong) device.send(octets, port.localPort, '127.0.0.1');
    device.send(datagram(), port.localPort, '127.0.0.1');
    await eventually(() => expect(port.received).toHaveLength(1));
    expect(port.drops).toEqual({ version: 1, type: 1, count: 1, length: 1, short: 1 });
  });

  it('relays between two bound clients', async () => {
    const port = await service({ relay: true });
    const [a, b] = [await client(), await client()];
    port.addRelay(PATH);
    port.bindSide(PATH, 0, a.endpoint);
    port.bindSide(PATH, 1, b.endpoint);
    await eventually(() => {
      a.send(datagram(8), port.localPort, '127.0.0.1');
      expect(b.received[0]).toBe(datagram(8).toHex());
    });
    b.send(datagram(8, 99), port.localPort, '127.0.0.1');
    await eventually(() => expect(a.received).toEqual([datagram(8, 99).toHex()]));
    const [traffic] = port.relayTraffic();
    expect(traffic).toMatchObject({ pathId: PATH, bytes: [64 * b.received.length, 99] });
    port.removeRelay(PATH);
    await eventually(() => {
      a.send(datagram(8), port.localPort, '127.0.0.1');
      expect(port.drops['relay-not-announced']).toBeGreaterThan(0);
    });
    expect(port.relayTraffic()).toEqual([]);
  });

  it('sends nothing into the overlay or to loopback addresses unless told', async () => {
    const port = await service({ loopback: false, overlay: [{ address: '100.80.0.0', length: 16 }] });
    for (const address of ['100.80.3.4', '127.0.0.1', '224.0.0.1', 'fe80::1', '::1']) {
      port.send({ address, port: 9 }, datagram());
    }
    expect(port.drops).toEqual({ 'forbidden-address': 5 });
  });

  it('says in one line that its port is taken', async () => {
    const port = await service();
    await expect(service({ port: port.localPort })).rejects.toThrow(`UDP port ${port.localPort} is already in use`);
  });

  it('can be closed at once and twice', async () => {
    const port = await service();
    await port.close();
    await port.close();
  });
});
