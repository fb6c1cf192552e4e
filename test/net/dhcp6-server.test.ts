import { describe, expect, it } from 'vitest';
import { decodeIp, decodeUdp, type UdpDatagram } from '../../src/net/datagram.ts';
import { type Association, type Dhcp6Message, decodeDhcp6, encodeDhcp6 } from '../../src/net/dhcp6.ts';
import { Dhcp6Server } from '../../src/net/dhcp6-server.ts';
import { duidOf } from '../../src/net/duid.ts';
import { hex } from '../vectors/read.ts';
import { adapterMac, camera, cameraMac, decoded, devices, gateway6, remote, strangerMac } from './support/link.ts';

const linkLocal = 'fe80::fe';
const server = new Dhcp6Server(
  { mac: adapterMac, linkLocal, gateway: gateway6, domain: 'lab.example', leaseSeconds: 3600 },
  (mac) => devices.get(mac)?.vip6 ?? null,
);
const serverId = duidOf(adapterMac);

/** Identifiers as these clients make them: LLT by dhclient, UUID or LL by dhcpcd, EN by systemd-networkd. */
const clients = {
  'dhclient -6': { clientId: hex('000100012a2b2c2d020000000001'), requested: [23, 24] },
  dhcpcd: { clientId: hex(`0004${'5a'.repeat(16)}`), requested: [22, 23, 24, 31, 39, 56, 64, 82, 83] },
  'dhcpcd by MAC address': { clientId: hex('00030001020000000001'), requested: [23, 24] },
  'systemd-networkd': { clientId: hex('00020000ab11ffeeddccbbaa9988'), requested: [23, 24, 82] },
};
const own = clients.dhcpcd;

const wanted: Association = {
  kind: 'addresses',
  id: 0x01020304,
  renewalTime: 0,
  rebindingTime: 0,
  addresses: [],
  status: null,
};
const held = (address: string): Association => ({ ...wanted, addresses: [{ address, preferred: 3600, valid: 3600 }] });
const given: Association = { ...held(camera.vip6), renewalTime: 1800, rebindingTime: 2880 };
const gone = (address: string) => ({ address, preferred: 0, valid: 0 });

function send(
  type: Dhcp6Message['type'],
  options: Dhcp6Message['options'],
  associations: Association[],
  datagram: Partial<UdpDatagram> = {},
  mac = cameraMac,
) {
  return server.receive(mac, {
    source: 'fe80::5',
    destination: 'ff02::1:2',
    sourcePort: 546,
    destinationPort: 547,
    payload: encodeDhcp6({ type, transactionId: 0xabcdef, options, associations }),
    ...datagram,
  });
}

function answer(actions: ReturnType<typeof send>) {
  const action = actions[0]!;
  if (action.do !== 'send') throw new Error(`no answer but ${JSON.stringify(action)}`);
  expect(action.to).toBe(cameraMac);
  const datagram = decoded(decodeUdp(decoded(decodeIp(action.packet))));
  const addressing = { source: linkLocal, destination: 'fe80::5', sourcePort: 547, destinationPort: 546 };
  expect(datagram).toMatchObject(addressing);
  const message = decoded(decodeDhcp6(datagram.payload));
  expect(message.transactionId).toBe(0xabcdef);
  expect(message.options.serverId).toEqual(serverId);
  return message;
}

const refused = (reason: string, mac = cameraMac) => [{ do: 'drop', reason, mac }];
const event = (name: string) => ({ do: 'lease', event: name, mac: cameraMac, address: camera.vip6 });
const configuration = { dns: [gateway6], search: ['lab.example'] };

describe.each(Object.entries(clients))('%s', (_, { clientId, requested }) => {
  it('goes from solicitation to renewal, rebinding, confirmation and release', () => {
    const advertised = answer(send('solicit', { clientId, requested, elapsedTime: 0 }, [wanted]));
    expect(advertised).toEqual({
      type: 'advertise',
      transactionId: 0xabcdef,
      options: { clientId, serverId, preference: 255, ...configuration },
      associations: [given],
    });

    for (const type of ['request', 'renew', 'rebind'] as const) {
      const named = type === 'rebind' ? {} : { serverId };
      const actions = send(type, { clientId, requested, ...named }, [held(camera.vip6)]);
      expect(answer(actions)).toEqual({
        type: 'reply',
        transactionId: 0xabcdef,
        options: { clientId, serverId, ...configuration },
        associations: [given],
      });
      expect(actions[1]).toEqual(event('bound'));
    }

    const confirmed = send('confirm', { clientId }, [held(camera.vip6)]);
    expect(answer(confirmed)).toMatchObject({ type: 'reply', options: { status: 0 }, associations: [] });
    expect(confirmed[1]).toEqual(event('bound'));

    const released = send('release', { clientId, serverId }, [held(camera.vip6)]);
    expect(answer(released)).toMatchObject({ type: 'reply', options: { status: 0 }, associations: [] });
    expect(released[1]).toEqual(event('released'));
  });
});

describe('the server', () => {
  it('commits at once if asked to', () => {
    const actions = send('solicit', { ...own, rapidCommit: true }, [wanted]);
    expect(answer(actions)).toMatchObject({ type: 'reply', options: { rapidCommit: true }, associations: [given] });
    expect(answer(actions).options).not.toHaveProperty('preference');
    expect(actions[1]).toEqual(event('bound'));
  });

  it('gives one address to one association, and no prefix', () => {
    const second = { ...wanted, id: 2 };
    const prefixes: Association = { ...wanted, kind: 'prefixes', id: 3 };
    const advertised = answer(send('solicit', own, [prefixes, wanted, second]));
    expect(advertised.associations).toEqual([prefixes, given, { ...second, status: 2 }]);
    // What else an association for prefixes holds isn't read back: its status is in the octets.
    const octets = Buffer.from((send('solicit', own, [prefixes])[0] as { packet: Uint8Array }).packet).toString('hex');
    expect(octets).toContain(`0019${'0012'}${'00000003'}${'00'.repeat(8)}${'000d'}${'0002'}${'0006'}`);
    expect(send('solicit', { ...own, rapidCommit: true }, [prefixes])).toHaveLength(1);
  });

  it('takes away addresses that are not the device’s', () => {
    const options = { ...own, serverId };
    const renewed = answer(send('renew', options, [held(remote.vip6), { ...held(camera.vip6), id: 2 }]));
    expect(renewed.associations).toEqual([
      { ...given, addresses: [...given.addresses, gone(remote.vip6)] },
      { ...wanted, id: 2, addresses: [gone(camera.vip6)], status: 2 },
    ]);
  });

  it('says that a foreign address is on no link of its', () => {
    const confirmed = send('confirm', own, [held('2001:db8::5')]);
    expect(answer(confirmed)).toMatchObject({ type: 'reply', options: { status: 4 } });
    expect(confirmed).toHaveLength(1);
    expect(send('confirm', own, [wanted])).toEqual(refused('dhcp6-options'));
  });

  it('informs without giving an address', () => {
    const options = { requested: [23, 24, 32] };
    expect(answer(send('informationRequest', options, []))).toEqual({
      type: 'reply',
      transactionId: 0xabcdef,
      options: { serverId, ...configuration, refreshTime: 3600 },
      associations: [],
    });
    expect(answer(send('informationRequest', { requested: [23] }, [])).options).toEqual({ serverId, dns: [gateway6] });
  });

  it('hears that an address is taken, and knows what it never gave', () => {
    const options = { ...own, serverId };
    expect(send('decline', options, [held(camera.vip6)])[1]).toEqual(event('declined'));
    const unbound = send('release', options, [held(remote.vip6)]);
    expect(answer(unbound)).toMatchObject({ options: { status: 0 }, associations: [{ ...wanted, status: 3 }] });
    expect(unbound).toHaveLength(1);
  });

  const other = duidOf(strangerMac);
  it.each([
    ['a device nobody knows', 'solicit', own, [wanted], {}, strangerMac, 'dhcp6-unknown-device'],
    ['a solicitation of nobody', 'solicit', {}, [wanted], {}, cameraMac, 'dhcp6-options'],
    ['a solicitation of a server', 'solicit', { ...own, serverId }, [wanted], {}, cameraMac, 'dhcp6-options'],
    ['a request to no server', 'request', own, [wanted], {}, cameraMac, 'dhcp6-options'],
    [
      'a request to another server',
      'request',
      { ...own, serverId: other },
      [wanted],
      {},
      cameraMac,
      'dhcp6-other-server',
    ],
    ['a rebinding of a server', 'rebind', { ...own, serverId }, [wanted], {}, cameraMac, 'dhcp6-options'],
    ['a question with an association', 'informationRequest', own, [wanted], {}, cameraMac, 'dhcp6-options'],
    ['a confirmation of nothing', 'confirm', own, [], {}, cameraMac, 'dhcp6-options'],
    ['unicast', 'solicit', own, [wanted], { destination: linkLocal }, cameraMac, 'dhcp6-address'],
    ['what comes from afar', 'solicit', own, [wanted], { source: camera.vip6 }, cameraMac, 'dhcp6-address'],
    ['another server’s offer', 'advertise', { ...own, serverId: other }, [given], {}, cameraMac, 'dhcp6-rogue-server'],
    ['another server’s reply', 'reply', { ...own, serverId: other }, [given], {}, cameraMac, 'dhcp6-rogue-server'],
    ['a reconfiguration', 'reconfigure', { ...own, serverId: other }, [], {}, cameraMac, 'dhcp6-rogue-server'],
    ['no message at all', 'solicit', own, [], { payload: new Uint8Array(3) }, cameraMac, 'dhcp6-malformed'],
  ] as const)('drops %s', (_, type, options, associations, datagram, mac, reason) => {
    expect(send(type, options, [...associations], datagram, mac)).toEqual(refused(reason, mac));
  });
});
