import { describe, expect, it } from 'vitest';
import { parsePrefix } from '../../src/lib/ip.ts';
import { type Arp, decodeArp, encodeArp } from '../../src/net/arp.ts';
import { decodeIp } from '../../src/net/datagram.ts';
import { EtherType, type Frame, multicastMac } from '../../src/net/ethernet.ts';
import {
  decodeNdp,
  encodeNdp,
  type NeighbourAdvertisement,
  type NeighbourSolicitation,
  solicitedNode,
} from '../../src/net/ndp.ts';
import { noNdpOptions } from '../../src/net/ndp-options.ts';
import { answerArp, answerSolicitation, judgeAdvertisement, type NeighbourTable } from '../../src/net/neighbours.ts';
import {
  adapterMac,
  camera,
  cameraMac,
  decoded,
  devices,
  gateway4,
  gateway6,
  plc,
  plcMac,
  range4,
  range6,
  remote,
  strangerMac,
} from './support/link.ts';

const table: NeighbourTable = {
  mac: adapterMac,
  gateway4,
  gateway6,
  range4,
  range6,
  addressesOf: (mac) => devices.get(mac) ?? null,
  ownerOf: (address) => [...devices].find(([, { vip4, vip6 }]) => address === vip4 || address === vip6)?.[0] ?? null,
};

const NOBODY = '00:00:00:00:00:00';
const EVERYBODY = 'ff:ff:ff:ff:ff:ff';

function ask(sender: string, target: string, more: Partial<Arp> = {}, frame: Partial<Frame> = {}) {
  const arp: Arp = {
    operation: 'request',
    senderMac: cameraMac,
    senderAddress: sender,
    targetMac: NOBODY,
    targetAddress: target,
    ...more,
  };
  const payload = encodeArp(arp);
  const whole = { destination: EVERYBODY, source: cameraMac, tag: 7, etherType: EtherType.arp, payload, ...frame };
  return answerArp(whole, arp, table);
}

describe('proxy ARP', () => {
  it.each([remote.vip4, gateway4, '100.80.255.254'])('answers for %s with the MAC address of the adapter', (target) => {
    const answer = decoded(ask(camera.vip4, target));
    expect(answer).toMatchObject({ destination: cameraMac, source: adapterMac, tag: 7, etherType: EtherType.arp });
    expect(decodeArp(answer!.payload)).toEqual({
      operation: 'reply',
      senderMac: adapterMac,
      senderAddress: target,
      targetMac: cameraMac,
      targetAddress: camera.vip4,
    });
  });

  it('answers who checks a neighbour by asking it alone', () => {
    expect(ask(camera.vip4, remote.vip4, {}, { destination: adapterMac })).toMatchObject({ destination: cameraMac });
  });

  it('defends overlay addresses against a device that probes for them', () => {
    const answer = decoded(ask('0.0.0.0', remote.vip4));
    expect(decodeArp(answer!.payload)).toMatchObject({ senderAddress: remote.vip4, targetAddress: '0.0.0.0' });
  });

  it.each([
    ['its own address, probed', '0.0.0.0', camera.vip4],
    ['its own address, announced', camera.vip4, camera.vip4],
    ['a neighbour', camera.vip4, plc.vip4],
    ['a neighbour, probed', '0.0.0.0', plc.vip4],
    ['an address outside the overlay', camera.vip4, '192.0.2.1'],
    ['the range itself', camera.vip4, '100.80.0.0'],
    ['the broadcast address', camera.vip4, '100.80.255.255'],
  ])('leaves alone a device that asks for %s', (_, sender, target) => {
    expect(ask(sender, target)).toBeNull();
  });

  it('leaves alone what is no question, or none to the adapter', () => {
    expect(ask(camera.vip4, remote.vip4, { operation: 'reply' })).toBeNull();
    expect(ask(camera.vip4, remote.vip4, {}, { destination: plcMac })).toBeNull();
  });

  it.each([
    ['a device nobody knows', ask(camera.vip4, remote.vip4, { senderMac: strangerMac }, { source: strangerMac })],
    ['a device without IPv4', ask('0.0.0.0', gateway4, {}, { source: strangerMac })],
  ])('gives nothing to %s', (_, answer) => {
    expect(answer).toMatch(/^neighbour-(unknown-device|spoofed)$/);
  });

  it.each([
    ['the MAC address of another', camera.vip4, { senderMac: plcMac }, 'neighbour-spoofed'],
    ['the address of a neighbour', plc.vip4, {}, 'neighbour-spoofed'],
    ['the gateway', gateway4, {}, 'neighbour-spoofed'],
    ['a peer', remote.vip4, {}, 'neighbour-spoofed'],
    ['a peer, in a reply', remote.vip4, { operation: 'reply' as const }, 'neighbour-spoofed'],
    ['an address of its own making', '169.254.1.1', {}, 'neighbour-source'],
  ])('refuses a device that speaks as %s', (_, sender, more, reason) => {
    expect(ask(sender, remote.vip4, more)).toBe(reason);
  });
});

function solicit(source: string, target: string, sourceMac: string | null = null, frame: Partial<Frame> = {}) {
  const message: NeighbourSolicitation = {
    type: 'neighbourSolicitation',
    target,
    options: { ...noNdpOptions, sourceMac },
  };
  const destination = frame.destination === adapterMac ? target : solicitedNode(target);
  const payload = encodeNdp(message, source, destination);
  const whole = {
    destination: multicastMac(destination),
    source: cameraMac,
    tag: null,
    etherType: EtherType.ipv6,
    payload,
    ...frame,
  };
  const packet = decoded(decodeIp(payload));
  expect(decodeNdp(packet)).toEqual(message);
  return answerSolicitation(whole, packet, message, table);
}

function advertised(answer: ReturnType<typeof solicit>) {
  const packet = decoded(decodeIp(decoded(answer)!.payload));
  return { to: packet.destination, from: packet.source, ...decoded(decodeNdp(packet)) };
}

describe('ND proxy', () => {
  it.each([camera.vip6, 'fe80::5'])('answers %s for a peer', (source) => {
    const answer = solicit(source, remote.vip6, cameraMac);
    expect(answer).toMatchObject({ destination: cameraMac, source: adapterMac, etherType: EtherType.ipv6 });
    expect(advertised(answer)).toMatchObject({
      to: source,
      from: remote.vip6,
      type: 'neighbourAdvertisement',
      target: remote.vip6,
      router: false,
      solicited: true,
      override: false,
      options: { targetMac: adapterMac },
    });
  });

  it('answers a unicast probe of reachability', () => {
    const answer = solicit(camera.vip6, remote.vip6, null, { destination: adapterMac });
    expect(advertised(answer)).toMatchObject({ solicited: true, target: remote.vip6 });
  });

  it('answers for the gateway as a router', () => {
    expect(advertised(solicit(camera.vip6, gateway6, cameraMac))).toMatchObject({ router: true, override: true });
  });

  it('defends overlay addresses against duplicate address detection, towards the asker only', () => {
    const answer = solicit('::', remote.vip6);
    expect(answer).toMatchObject({ destination: cameraMac });
    expect(advertised(answer)).toMatchObject({ to: 'ff02::1', solicited: false, target: remote.vip6 });
  });

  it.each([
    ['its own address, detected', '::', camera.vip6],
    ['its own address', camera.vip6, camera.vip6],
    ['a neighbour', camera.vip6, plc.vip6],
    ['a neighbour, detected', '::', plc.vip6],
    ['an address outside the overlay', camera.vip6, '2001:db8::1'],
    ['a link-local address', camera.vip6, 'fe80::9'],
  ])('leaves alone a device that asks for %s', (_, source, target) => {
    expect(solicit(source, target)).toBeNull();
  });

  it('leaves alone a question to another', () => {
    expect(solicit(camera.vip6, remote.vip6, null, { destination: plcMac })).toBeNull();
  });

  it.each([
    ['nobody knows', 'fe80::66', strangerMac, strangerMac, 'neighbour-unknown-device'],
    ['names another MAC address', camera.vip6, plcMac, cameraMac, 'neighbour-spoofed'],
    ['speaks as a neighbour', plc.vip6, cameraMac, cameraMac, 'neighbour-spoofed'],
    ['speaks as the gateway', gateway6, cameraMac, cameraMac, 'neighbour-spoofed'],
    ['speaks as a peer', remote.vip6, cameraMac, cameraMac, 'neighbour-spoofed'],
    ['has an address of its own making', '2001:db8::5', cameraMac, cameraMac, 'neighbour-source'],
  ])('refuses a device that %s', (_, source, sourceMac, from, reason) => {
    expect(solicit(source, remote.vip6, sourceMac, { source: from })).toBe(reason);
  });
});

describe('a neighbour advertisement', () => {
  const judge = (target: string, targetMac: string | null, source = cameraMac) => {
    const message: NeighbourAdvertisement = {
      type: 'neighbourAdvertisement',
      router: false,
      solicited: false,
      override: true,
      target,
      options: { ...noNdpOptions, targetMac },
    };
    const payload = encodeNdp(message, target, 'ff02::1');
    const frame = { destination: '33:33:00:00:00:01', source, tag: null, etherType: EtherType.ipv6, payload };
    return judgeAdvertisement(frame, message, table);
  };

  it.each([
    [camera.vip6, cameraMac, cameraMac, null],
    [camera.vip6, null, cameraMac, null],
    ['fe80::5', cameraMac, cameraMac, null],
    [camera.vip6, strangerMac, strangerMac, 'neighbour-unknown-device'],
    [camera.vip6, plcMac, cameraMac, 'neighbour-spoofed'],
    [plc.vip6, cameraMac, cameraMac, 'neighbour-spoofed'],
    [gateway6, cameraMac, cameraMac, 'neighbour-spoofed'],
    [remote.vip6, cameraMac, cameraMac, 'neighbour-spoofed'],
    ['2001:db8::5', cameraMac, cameraMac, 'neighbour-source'],
  ])('for %s at %s by %s is judged', (target, targetMac, source, reason) => {
    expect(judge(target, targetMac, source)).toBe(reason);
  });
});

it('a whole IPv4 range may be of any length', () => {
  const narrow: NeighbourTable = { ...table, range4: parsePrefix('100.80.0.0/29')! };
  const arp = (target: string): Arp => ({
    operation: 'request',
    senderMac: cameraMac,
    senderAddress: camera.vip4,
    targetMac: NOBODY,
    targetAddress: target,
  });
  const frame = { destination: EVERYBODY, source: cameraMac, tag: null, etherType: EtherType.arp };
  const answers = ['100.80.0.3', '100.80.0.7', '100.80.0.8'].map((target) =>
    answerArp({ ...frame, payload: encodeArp(arp(target)) }, arp(target), narrow),
  );
  expect(answers).toEqual([expect.anything(), null, null]);
});
