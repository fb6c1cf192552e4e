import { describe, expect, it } from 'vitest';
import { parsePrefix } from '../../src/lib/ip.ts';
import { decodeIp, decodeUdp, type UdpDatagram } from '../../src/net/datagram.ts';
import { type Dhcp4Message, type Dhcp4Options, decodeDhcp4, encodeDhcp4 } from '../../src/net/dhcp4.ts';
import { Dhcp4Server, type Dhcp4Settings } from '../../src/net/dhcp4-server.ts';
import fc from '../support/property.ts';
import { camera, cameraMac, decoded, devices, gateway4, plcMac, range4, remote, strangerMac } from './support/link.ts';

const settings: Dhcp4Settings = {
  gateway: gateway4,
  range: range4,
  domain: 'lab.example',
  mtu: 1400,
  leaseSeconds: 3600,
};
const server = new Dhcp4Server(settings, (mac) => devices.get(mac)?.vip4 ?? null);

const NONE = '0.0.0.0';
const EVERYBODY = '255.255.255.255';
const bare: Dhcp4Message = {
  type: 'discover',
  transactionId: 77,
  broadcast: false,
  clientAddress: NONE,
  yourAddress: NONE,
  relayAddress: NONE,
  mac: cameraMac,
  options: {},
};

function send(message: Partial<Dhcp4Message>, datagram: Partial<UdpDatagram> = {}, mac = cameraMac, to = server) {
  return to.receive(mac, {
    source: NONE,
    destination: EVERYBODY,
    sourcePort: 68,
    destinationPort: 67,
    payload: encodeDhcp4({ ...bare, ...message }),
    ...datagram,
  });
}

/** The answer, checked for what all have in common. */
function answer(actions: ReturnType<typeof send>) {
  const action = actions[0]!;
  if (action.do !== 'send') throw new Error(`no answer but ${JSON.stringify(action)}`);
  const datagram = decoded(decodeUdp(decoded(decodeIp(action.packet))));
  expect(datagram).toMatchObject({ source: gateway4, sourcePort: 67, destinationPort: 68 });
  return {
    to: action.to,
    at: datagram.destination,
    size: action.packet.length,
    ...decoded(decodeDhcp4(datagram.payload)),
  };
}

const refused = (reason: string, mac = cameraMac) => [{ do: 'drop', reason, mac }];
const event = (name: string) => ({ do: 'lease', event: name, mac: cameraMac, address: camera.vip4 });

/** What these clients put into their messages, as their sources and captures show. */
const clients: Record<string, Dhcp4Options> = {
  dhclient: { parameters: [1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42] },
  udhcpc: { clientId: Uint8Array.of(1, 2, 0, 0, 0, 0, 1), maxSize: 576, parameters: [1, 3, 6, 12, 15, 28, 42] },
  dhcpcd: {
    clientId: Uint8Array.from([255, 0, 0, 0, 1, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1]),
    maxSize: 1472,
    parameters: [1, 121, 33, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 119],
  },
  'a client that asks for nothing': {},
};

const always: Dhcp4Options = {
  serverId: gateway4,
  leaseTime: 3600,
  renewalTime: 1800,
  rebindingTime: 3150,
  mask: '255.255.0.0',
  routers: [gateway4],
  dns: [gateway4],
};
const asked: Record<string, Dhcp4Options> = {
  dhclient: { mtu: 1400, broadcastAddress: '100.80.255.255', domain: 'lab.example', search: ['lab.example'] },
  udhcpc: { broadcastAddress: '100.80.255.255', domain: 'lab.example' },
  dhcpcd: { mtu: 1400, broadcastAddress: '100.80.255.255', domain: 'lab.example', search: ['lab.example'] },
  'a client that asks for nothing': {
    mtu: 1400,
    broadcastAddress: '100.80.255.255',
    domain: 'lab.example',
    search: ['lab.example'],
  },
};

describe.each(Object.keys(clients))('%s', (name) => {
  const own = clients[name]!;
  const echo: Dhcp4Options = own.clientId === undefined ? {} : { clientId: own.clientId };

  it('goes from discovery to renewal, rebinding and release', () => {
    const offer = answer(send({ options: own }));
    expect(offer).toMatchObject({ type: 'offer', transactionId: 77, yourAddress: camera.vip4, to: cameraMac });
    expect(offer.at).toBe(camera.vip4);
    expect(offer.options).toEqual({ ...always, ...asked[name], ...echo });

    const selecting = { ...own, requestedAddress: offer.yourAddress, serverId: offer.options.serverId! };
    const selected = send({ type: 'request', transactionId: 78, options: selecting });
    expect(answer(selected)).toMatchObject({ type: 'ack', transactionId: 78, yourAddress: camera.vip4 });
    expect(answer(selected).options).toEqual(offer.options);
    expect(selected[1]).toEqual(event('bound'));

    const renewing = { type: 'request', clientAddress: camera.vip4, options: own } as const;
    for (const from of [
      { source: camera.vip4, destination: gateway4 },
      { source: camera.vip4, destination: EVERYBODY },
    ]) {
      const renewed = send(renewing, from);
      expect(answer(renewed)).toMatchObject({ type: 'ack', clientAddress: camera.vip4, at: camera.vip4 });
      expect(renewed[1]).toEqual(event('bound'));
    }

    const releasing = { ...echo, serverId: gateway4 };
    expect(send({ type: 'release', clientAddress: camera.vip4, options: releasing })).toEqual([event('released')]);
  });

  it('gets its former address again after a restart, or is told that it is wrong', () => {
    const rebooting = send({ type: 'request', options: { ...own, requestedAddress: camera.vip4 } });
    expect(answer(rebooting)).toMatchObject({ type: 'ack', yourAddress: camera.vip4 });
    const wrong = answer(send({ type: 'request', options: { ...own, requestedAddress: '192.168.1.5' } }));
    expect(wrong).toMatchObject({ type: 'nak', yourAddress: NONE, at: EVERYBODY, to: 'ff:ff:ff:ff:ff:ff' });
    expect(wrong.options).toEqual({ serverId: gateway4, message: 'not your address', ...echo });
    const moved = send({ type: 'request', clientAddress: '192.168.1.5', options: own }, { source: '192.168.1.5' });
    expect(answer(moved)).toMatchObject({ type: 'nak', clientAddress: NONE, at: EVERYBODY });
  });
});

describe('the server', () => {
  it('broadcasts to a client that asks for it, until it is configured', () => {
    const offer = answer(send({ broadcast: true }));
    expect(offer).toMatchObject({ at: EVERYBODY, to: 'ff:ff:ff:ff:ff:ff', broadcast: true });
    const renewed = answer(send({ type: 'request', broadcast: true, clientAddress: camera.vip4 }));
    expect(renewed).toMatchObject({ at: camera.vip4, to: cameraMac });
  });

  it('informs a device that was configured by hand', () => {
    const informed = answer(send({ type: 'inform', clientAddress: camera.vip4 }, { source: camera.vip4 }));
    expect(informed).toMatchObject({ type: 'ack', yourAddress: NONE, clientAddress: camera.vip4, at: camera.vip4 });
    const { leaseTime: _, renewalTime: __, rebindingTime: ___, ...rest } = always;
    expect(informed.options).toEqual({ ...rest, ...asked['a client that asks for nothing'] });
    expect(send({ type: 'inform', clientAddress: '192.0.2.9' })).toEqual(refused('dhcp4-address'));
  });

  it('says that an address is taken by somebody else on the link', () => {
    const options = { requestedAddress: camera.vip4, serverId: gateway4 };
    expect(send({ type: 'decline', options })).toEqual([event('declined')]);
    const other = { requestedAddress: remote.vip4, serverId: gateway4 };
    expect(send({ type: 'decline', options: other })).toEqual(refused('dhcp4-address'));
  });

  it.each([
    ['a device nobody knows', { mac: strangerMac }, {}, strangerMac, 'dhcp4-unknown-device'],
    ['a message for another MAC address', { mac: plcMac }, {}, cameraMac, 'dhcp4-hardware-address'],
    ['a relay agent', { relayAddress: '192.0.2.1' }, {}, cameraMac, 'dhcp4-relayed'],
    ['a relay by its port', {}, { sourcePort: 67 }, cameraMac, 'dhcp4-relayed'],
    ['another server', { type: 'offer' }, { sourcePort: 67 }, cameraMac, 'dhcp4-rogue-server'],
    [
      'what another server shall do',
      { type: 'request', options: { serverId: '192.0.2.1' } },
      {},
      cameraMac,
      'dhcp4-other-server',
    ],
    ['a request for nothing', { type: 'request', options: { serverId: gateway4 } }, {}, cameraMac, 'dhcp4-malformed'],
    [
      'the release of what is not its own',
      { type: 'release', clientAddress: remote.vip4 },
      {},
      cameraMac,
      'dhcp4-address',
    ],
    ['no message at all', {}, { payload: new Uint8Array(300) }, cameraMac, 'dhcp4-malformed'],
  ] as const)('drops %s', (_, message, datagram, mac, reason) => {
    expect(send(message, datagram, mac)).toEqual(refused(reason, mac));
  });

  it('keeps within the size a client takes, if need be without the search list', () => {
    const domain = `${Array.from({ length: 4 }, () => 'x'.repeat(45)).join('.')}.ex`;
    const long = new Dhcp4Server({ ...settings, domain }, () => camera.vip4);
    const small = answer(send({ options: { clientId: new Uint8Array(9).fill(1) } }, {}, cameraMac, long));
    expect(small.size).toBeLessThanOrEqual(576);
    expect(small.options).toMatchObject({ domain, mask: '255.255.0.0', clientId: new Uint8Array(9).fill(1) });
    expect(small.options).not.toHaveProperty('search');
    const large = answer(send({ options: { maxSize: 1500 } }, {}, cameraMac, long));
    expect(large.options).toMatchObject({ domain, search: [domain] });
  });

  it.each([
    ['100.80.0.0/16', '255.255.0.0', '100.80.255.255'],
    ['100.64.0.0/10', '255.192.0.0', '100.127.255.255'],
    ['100.80.0.0/29', '255.255.255.248', '100.80.0.7'],
  ])('gives the mask of %s, so that the gateway and all peers are on-link', (range, mask, broadcastAddress) => {
    const other = new Dhcp4Server({ ...settings, range: parsePrefix(range)! }, () => '100.80.0.5');
    expect(answer(send({}, {}, cameraMac, other)).options).toMatchObject({ mask, broadcastAddress });
  });

  it('gives nobody an address but its own, whatever is said in whatever order', () => {
    const address = fc.constantFrom(NONE, camera.vip4, remote.vip4, '192.0.2.1');
    const message = fc.record({
      type: fc.constantFrom('discover', 'request', 'inform', 'decline', 'release'),
      broadcast: fc.boolean(),
      clientAddress: address,
      options: fc.record({ requestedAddress: address, serverId: fc.constant(gateway4) }, { requiredKeys: [] }),
    });
    fc.assert(
      fc.property(message, (it) => {
        for (const action of send(it)) {
          if (action.do !== 'send') continue;
          expect([camera.vip4, NONE]).toContain(answer([action]).yourAddress);
        }
      }),
    );
  });
});
