import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { createLog } from '../../../src/lib/log.ts';
import { PortFan } from '../../../src/roles/member/port-fan.ts';
import { closeUdp, type UdpSockets } from '../../../src/sys/udp.ts';

const cleanup: (() => void)[] = [];

afterEach(() => {
  for (const undo of cleanup.splice(0)) undo();
});

async function socket(): Promise<Socket> {
  const opened = createSocket('udp4').bind(0, '127.0.0.1');
  cleanup.push(() => opened.close());
  await once(opened, 'listening');
  return opened;
}

const endpointOf = (of: Socket): Endpoint => ({ address: '127.0.0.1', port: of.address().port });

/** A fan whose datagrams leave through a socket of the test's: the port is told by the datagram. */
function fan() {
  const branches: { readonly to: Endpoint; readonly sockets: UdpSockets | null }[] = [];
  const ports: number[] = [];
  const plane = {
    branch: (to: Endpoint, sockets: UdpSockets | null): void => {
      branches.push({ to, sockets });
      if (sockets !== null) cleanup.push(() => closeUdp(sockets));
    },
    sendFrom: ({ port }: UdpSockets): void => void ports.push(port),
  };
  const opened = new PortFan(plane, createLog('node', 'error'));
  cleanup.unshift(() => opened.close());
  return { fan: opened, branches, ports };
}

it('opens a port for each datagram, and tells what comes to it from where it was sent', async () => {
  const [peer, stranger] = [await socket(), await socket()];
  const to = endpointOf(peer);
  const { fan: opened, ports } = fan();
  const heard: [string, number][] = [];
  const hearing = Promise.withResolvers<void>();
  const user = (datagram: Uint8Array, _from: Endpoint, port: number): void => {
    heard.push([Buffer.from(datagram).toString(), port]);
    hearing.resolve();
  };
  for (let i = 0; i < 20; i++) opened.perform({ do: 'openPort', to, datagram: new Uint8Array(1) }, user);
  expect(new Set(ports).size).toBe(20);
  stranger.send('forged', ports[3]!, '127.0.0.1');
  peer.send('hit', ports[7]!, '127.0.0.1');
  await hearing.promise;
  expect(heard).toEqual([['hit', ports[7]]]);
});

it('gives the port that is kept to the data plane, closes the others, and takes it back', async () => {
  const peer = await socket();
  const to = endpointOf(peer);
  const { fan: opened, branches, ports } = fan();
  const [user, another] = [(): void => {}, (): void => {}];
  for (let i = 0; i < 5; i++) opened.perform({ do: 'openPort', to, datagram: new Uint8Array(1) }, user);
  // Not those of somebody else.
  opened.perform({ do: 'keepPort', to, port: ports[2]! }, another);
  expect(branches).toEqual([]);
  opened.perform({ do: 'keepPort', to, port: ports[2]! }, user);
  expect(branches.map(({ sockets }) => sockets?.port)).toEqual([ports[2]]);
  for (const port of ports) {
    const probe = createSocket('udp4').bind(port, '127.0.0.1');
    const isFree = await once(probe, 'listening').then(
      () => true,
      () => false,
    );
    expect(isFree, `port ${port}`).toBe(port !== ports[2]);
    if (isFree) probe.close();
  }
  opened.perform({ do: 'closePorts', to }, another);
  expect(branches.length).toBe(1);
  opened.perform({ do: 'closePorts', to }, user);
  expect(branches.at(-1)).toEqual({ to, sockets: null });
});

it('opens no more than it may', async () => {
  const to = endpointOf(await socket());
  const { fan: opened, ports } = fan();
  for (let i = 0; i < 600; i++) opened.perform({ do: 'openPort', to, datagram: new Uint8Array(1) }, () => {});
  expect(ports.length).toBe(512);
});
