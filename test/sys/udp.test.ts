import { afterEach, describe, expect, it } from 'vitest';
import { allocate } from '../../src/sys/memory.ts';
import { ReceiveBatch, SendBatch } from '../../src/sys/mmsg.ts';
import { Poller } from '../../src/sys/poll.ts';
import { decodeSockaddr, encodeSockaddr } from '../../src/sys/sockaddr.ts';
import { closeUdp, openUdp, type UdpOptions, UdpPort, type UdpSockets } from '../../src/sys/udp.ts';

/** What any allocation takes. */
const PAGE = 4_096;
const opened: UdpSockets[] = [];

afterEach(() => {
  for (const sockets of opened.splice(0)) closeUdp(sockets);
});

function open(options: Partial<UdpOptions> = {}): UdpSockets {
  const sockets = openUdp({ address4: '127.0.0.1', address6: '::1', port: 0, orNext: false, ...options });
  opened.push(sockets);
  return sockets;
}

const memory = allocate(1 << 17);
for (let i = 0; i < memory.bytes.length; i++) memory.bytes[i] = Math.imul(i, 2654435761) >>> 13;

/** Everything that arrives at one socket of the port within `count` datagrams. */
function receiveAll(sockets: UdpSockets, socket: 0 | 1, count: number): { datagrams: Uint8Array[]; messages: number } {
  const port = new UdpPort(sockets);
  const batch = new ReceiveBatch(8);
  const poller = new Poller([socket === 0 ? sockets.fd4 : sockets.fd6]);
  const datagrams: Uint8Array[] = [];
  let messages = 0;
  while (datagrams.length < count) {
    poller.wait(2_000);
    const received = port.receive(socket, batch);
    if (received === 0) break;
    for (let i = 0; i < received; i++, messages++) {
      const start = batch.start(i);
      const end = start + batch.octets(i);
      for (let at = start; at < end; at += batch.segment(i)) {
        datagrams.push(batch.memory.bytes.slice(at, Math.min(at + batch.segment(i), end)));
      }
    }
  }
  return { datagrams, messages };
}

describe.each([
  ['with segmentation offload', {}],
  ['without', { segment: false, gro: false }],
])('a UDP port %s', (_, offload) => {
  it.each([
    ['IPv4', 0, '127.0.0.1'],
    ['IPv6', 1, '::1'],
  ] as const)('sends many datagrams of one size, and single ones, over %s', (_family, socket, address) => {
    const from = open(offload);
    const to = open(offload);
    const batch = new SendBatch(4);
    const destination = encodeSockaddr({ address, port: to.port });
    const expected: Uint8Array[] = [];
    let message = -1;
    for (const [i, length] of [...new Array<number>(40).fill(1400), 900, 20, 20, 7].entries()) {
      const at = i * 1500;
      message = batch.add(message, destination, 0, memory.address + at, length);
      expected.push(memory.bytes.slice(at, at + length));
    }
    expect(batch.count).toBe(2);
    expect(new UdpPort(from).send(batch)).toBe(0);
    const { datagrams, messages } = receiveAll(to, socket, expected.length);
    expect(datagrams).toEqual(expected);
    if (from.segment && to.gro) expect(messages).toBeLessThan(expected.length);
  });
});

describe('a UDP port', () => {
  it('tells who sent', () => {
    const from = open();
    const to = open();
    const batch = new SendBatch(1);
    batch.add(-1, encodeSockaddr({ address: '::1', port: to.port }), 0, memory.address, 5);
    new UdpPort(from).send(batch);
    new Poller([to.fd6]).wait(2_000);
    const received = new ReceiveBatch(2);
    expect(new UdpPort(to).receive(1, received)).toBe(1);
    expect(decodeSockaddr(received.nameBytes, received.from(0))).toEqual({ address: '::1', port: from.port });
  });

  it('sends a series singly when the path is too small for the kernel to segment it', () => {
    const from = open();
    const to = open();
    const batch = new SendBatch(1);
    const destination = encodeSockaddr({ address: '127.0.0.1', port: to.port });
    // Segments larger than any MTU are refused in one message, and fragmented as single datagrams.
    expect(batch.add(-1, destination, 0, memory.address, 64_500, 32_250)).toBe(0);
    const port = new UdpPort(from);
    expect(port.send(batch)).toBe(0);
    expect(port.segment).toBe(from.segment);
    expect(receiveAll(to, 0, 2).datagrams.map((datagram) => datagram.length)).toEqual([32_250, 32_250]);
  });

  it('counts what cannot be sent and goes on with the rest', () => {
    const from = open();
    const to = open();
    const batch = new SendBatch(3);
    const good = encodeSockaddr({ address: '127.0.0.1', port: to.port });
    batch.add(-1, good, 1, memory.address, 3);
    batch.add(-1, encodeSockaddr({ address: '255.255.255.255', port: 9 }), 2, memory.address, 30, 10);
    batch.add(-1, good, 3, memory.address, 4);
    expect(new UdpPort(from).send(batch)).toBe(3);
    expect([0, 1, 2].map((i) => [batch.owner(i), batch.failed(i)])).toEqual([
      [1, 0],
      [2, 3],
      [3, 0],
    ]);
    expect(receiveAll(to, 0, 2).datagrams.map((datagram) => datagram.length)).toEqual([3, 4]);
  });

  it('sends what is for one endpoint by a socket of its own, and hears there, until that ends', () => {
    const [from, branch, to, other] = [open(), open({ address6: null }), open(), open()];
    const port = new UdpPort(from);
    const there = { address: '127.0.0.1', port: to.port };
    const sources = (): number[] => {
      const batch = new SendBatch(4);
      for (const target of [other, to, to, other]) {
        batch.add(-1, encodeSockaddr({ address: '127.0.0.1', port: target.port }), 0, memory.address, 3);
      }
      expect(port.send(batch)).toBe(0);
      return [to, other].flatMap((target) => {
        const received = new ReceiveBatch(4);
        new Poller([target.fd4]).wait(2_000);
        const messages = new UdpPort(target).receive(0, received);
        return Array.from({ length: messages }, (_, i) => decodeSockaddr(received.nameBytes, received.from(i)).port);
      });
    };
    port.branch(there, branch.fd4);
    expect(new Set(sources().slice(0, 1))).toEqual(new Set([branch.port]));
    expect(port.descriptors).toEqual([from.fd4, from.fd6, branch.fd4]);
    const answer = new SendBatch(1);
    answer.add(-1, encodeSockaddr({ address: '127.0.0.1', port: branch.port }), 0, memory.address, 7);
    new UdpPort(to).send(answer);
    new Poller([branch.fd4]).wait(2_000);
    expect(port.receive(2, new ReceiveBatch(1))).toBe(1);
    port.branch(there, null);
    expect(new Set(sources())).toEqual(new Set([from.port]));
    expect(port.descriptors).toEqual([from.fd4, from.fd6]);
  });

  it('takes the next free port, the same for both families, only if that will do', () => {
    const first = open();
    const next = open({ port: first.port, orNext: true });
    expect(next.port).toBeGreaterThan(first.port);
    expect(() => open({ port: first.port })).toThrow(`UDP port ${first.port} is already in use`);
    // One that is free in both.
    const { port } = first;
    for (const sockets of opened.splice(0)) closeUdp(sockets);
    const only6 = open({ address4: null, port });
    expect(() => open({ port: only6.port })).toThrow('already in use');
    expect(open({ port: only6.port, address6: null }).fd6).toBe(-1);
  });

  it('names an address that this machine does not have', () => {
    expect(() => open({ address4: '192.0.2.1' })).toThrow(/cannot use UDP port 0 on 192.0.2.1: EADDRNOTAVAIL/);
    expect(() => open({ address4: null, address6: null })).toThrow('neither IPv4 nor IPv6');
  });
});

describe('a batch to send', () => {
  const to = encodeSockaddr({ address: '192.0.2.1', port: 1 });
  const fill = (sizes: readonly number[]): SendBatch => {
    const batch = new SendBatch(64);
    let message = -1;
    for (const size of sizes) message = batch.add(message, to, 0, memory.address, size);
    return batch;
  };
  const counts = (batch: SendBatch): number[] => Array.from({ length: batch.count }, (_, i) => batch.datagrams(i));

  it('puts at most 64 datagrams and 65,000 octets into a message', () => {
    expect(counts(fill(new Array(130).fill(10)))).toEqual([64, 64, 2]);
    expect(counts(fill(new Array(50).fill(1452)))).toEqual([44, 6]);
  });

  it('ends a message at the first shorter datagram and begins one for a longer', () => {
    expect(counts(fill([10, 10, 9, 10, 10, 11, 11]))).toEqual([3, 2, 2]);
  });

  it('takes whole runs, and nothing behind a run that ends short', () => {
    const batch = new SendBatch(8);
    let message = batch.add(-1, to, 0, memory.address, 300, 100);
    message = batch.add(message, to, 0, memory.address + 300, 250, 100);
    expect(counts(batch)).toEqual([6]);
    message = batch.add(message, to, 0, memory.address, 100);
    expect(counts(batch)).toEqual([6, 1]);
    expect(batch.add(message, to, 0, memory.address, 150, 50)).toBe(2);
  });
});

it('takes memory once, however many ports are opened', () => {
  open();
  const before = allocate(1).address;
  for (let i = 0; i < 20; i++) open();
  expect(allocate(1).address - before).toBe(PAGE);
});
