/**
 * Frames without end on the inner link, half of them spoiled inside a protocol with everything around it right: the
 * adapter's machine takes each, or drops it for a reason that is counted.
 */

import { encode as encodeDns } from 'dns-packet';
import { AdapterMachine } from '../../src/core/adapter/machine.ts';
import type { AdapterAction } from '../../src/core/adapter/types.ts';
import { concat } from '../../src/lib/bytes.ts';
import { BROADCAST_MAC, formatMac } from '../../src/lib/mac.ts';
import { encodeArp } from '../../src/net/arp.ts';
import { encodeIp, encodeUdp, sealTransport } from '../../src/net/datagram.ts';
import { dhcp4Types, encodeDhcp4 } from '../../src/net/dhcp4.ts';
import { dhcp6Types, encodeDhcp6 } from '../../src/net/dhcp6.ts';
import { decodeQuery } from '../../src/net/dns.ts';
import { duidOf } from '../../src/net/duid.ts';
import { encodeEap } from '../../src/net/eap.ts';
import { encodeTlsFragment } from '../../src/net/eap-tls-framing.ts';
import { encodeEapol } from '../../src/net/eapol.ts';
import { decodeFrame, EtherType, encodeFrame, type Frame } from '../../src/net/ethernet.ts';
import { linkDropReasons } from '../../src/net/link-drop.ts';
import { encodeNdp, solicitedNode } from '../../src/net/ndp.ts';
import { noNdpOptions } from '../../src/net/ndp-options.ts';
import { Protocol } from '../../src/net/packet.ts';
import { advertisement } from '../../src/net/router-advertiser.ts';
import { decodeAvps, encodeAvps, papCredentials } from '../../src/net/ttls-avps.ts';
import { general } from '../core/adapter/bench.ts';
import { Random, spoilOne, type Tally } from '../support/spoil.ts';
import {
  adapterMac,
  camera,
  cameraMac,
  gateway4,
  gateway6,
  plc,
  plcMac,
  range4,
  range6,
  remote,
  strangerMac,
} from './support/link.ts';
import { ScriptedEngine } from './support/supplicant.ts';

const LONGEST = 1_500;
const linkLocal = 'fe80::fe';
const deviceLocal = 'fe80::1';
const ICMP6_CHECKSUM = 2;
/** In an EAPOL PDU. */
const EAP_ID = 5;
const NONE = '0.0.0.0';
const EVERYBODY = '255.255.255.255';

/** `id`: of the EAP request that waits for its response. */
type Wrap = (octets: Uint8Array, random: Random, id: number) => Partial<Frame>;

/** A protocol: messages of it, and what goes around them. */
type Layer = { readonly corpus: readonly Uint8Array[]; readonly wrap: Wrap };

const ipv4 = (payload: Uint8Array): Partial<Frame> => ({ etherType: EtherType.ipv4, payload });
const ipv6 = (payload: Uint8Array): Partial<Frame> => ({ etherType: EtherType.ipv6, payload });

const layers: readonly Layer[] = [
  { corpus: arps(), wrap: (payload) => ({ etherType: EtherType.arp, payload }) },
  {
    corpus: neighbourMessages(),
    wrap: (payload, random) => {
      const packet = { source: random.below(2) ? deviceLocal : camera.vip6, destination: solicitedNode(remote.vip6) };
      const octets = encodeIp({ ...packet, protocol: Protocol.icmp6, hopLimit: 255, payload });
      return ipv6(payload.length < 4 ? octets : sealTransport(octets, ICMP6_CHECKSUM));
    },
  },
  {
    corpus: dhcp4Messages(),
    wrap: (payload, random) => {
      const ends = random.below(2)
        ? { source: NONE, destination: EVERYBODY }
        : { source: camera.vip4, destination: gateway4 };
      return ipv4(encodeUdp({ ...ends, sourcePort: 68, destinationPort: 67, payload }));
    },
  },
  {
    corpus: dhcp6Messages(),
    wrap: (payload) =>
      ipv6(
        encodeUdp({ source: deviceLocal, destination: 'ff02::1:2', sourcePort: 546, destinationPort: 547, payload }),
      ),
  },
  {
    corpus: queries(),
    wrap: (payload, random) => {
      const six = random.below(2) === 1;
      const ends = six
        ? { source: camera.vip6, destination: gateway6 }
        : { source: camera.vip4, destination: gateway4 };
      return (six ? ipv6 : ipv4)(encodeUdp({ ...ends, sourcePort: 4_000, destinationPort: 53, payload }));
    },
  },
  {
    corpus: eapolPdus(),
    wrap: (payload, random, id) => {
      if (payload.length > EAP_ID && random.below(8) > 0) payload[EAP_ID] = id;
      return { source: plcMac, etherType: EtherType.eapol, payload };
    },
  },
  { corpus: packets(), wrap: (payload) => (payload[0]! >> 4 === 6 ? ipv6 : ipv4)(payload) },
];

function arps(): Uint8Array[] {
  const sender = { senderMac: cameraMac, senderAddress: camera.vip4, targetMac: '00:00:00:00:00:00' };
  return [remote.vip4, camera.vip4, gateway4, plc.vip4].flatMap((targetAddress) =>
    (['request', 'reply'] as const).map((operation) => encodeArp({ ...sender, operation, targetAddress })),
  );
}

/** ICMPv6 without the IPv6 header. */
function neighbourMessages(): Uint8Array[] {
  const options = { ...noNdpOptions, sourceMac: cameraMac, targetMac: cameraMac };
  const advertised = { router: false, solicited: true, override: true };
  const ends = [deviceLocal, 'ff02::1'] as const;
  return [
    encodeNdp({ type: 'routerSolicitation', options }, ...ends),
    encodeNdp({ type: 'neighbourSolicitation', target: remote.vip6, options }, ...ends),
    encodeNdp(
      advertisement({ mac: cameraMac, gateway: camera.vip6, range: range6, domain: 'x', mtu: 1_400 }, false),
      ...ends,
    ),
    encodeNdp({ type: 'neighbourSolicitation', target: gateway6, options }, ...ends),
    encodeNdp({ type: 'neighbourAdvertisement', target: camera.vip6, options, ...advertised }, ...ends),
    encodeNdp({ type: 'neighbourAdvertisement', target: plc.vip6, options, ...advertised }, ...ends),
  ].map((packet) => packet.subarray(40));
}

function dhcp4Messages(): Uint8Array[] {
  const bare = { transactionId: 7, broadcast: false, clientAddress: NONE, yourAddress: NONE, relayAddress: NONE };
  const options = {
    requestedAddress: camera.vip4,
    serverId: gateway4,
    parameters: [1, 3, 6, 15, 26, 28, 42, 51, 58, 59, 119],
    maxSize: 1_500,
    clientId: Uint8Array.of(1, 2, 0, 0, 0, 0, 1),
  };
  return Object.keys(dhcp4Types).flatMap((type) =>
    [{}, options].map((some) =>
      encodeDhcp4({ ...bare, type: type as keyof typeof dhcp4Types, mac: cameraMac, options: some }),
    ),
  );
}

function dhcp6Messages(): Uint8Array[] {
  const association = { kind: 'addresses', id: 1, renewalTime: 0, rebindingTime: 0, status: null } as const;
  const leased = [{ address: camera.vip6, preferred: 3_600, valid: 3_600 }];
  const options = { clientId: duidOf(cameraMac), requested: [23, 24] };
  return Object.keys(dhcp6Types).flatMap((type) =>
    [[], leased].flatMap((addresses) =>
      [options, { ...options, serverId: duidOf(adapterMac) }].map((some) =>
        encodeDhcp6({
          type: type as keyof typeof dhcp6Types,
          transactionId: 9,
          options: some,
          associations: [{ ...association, addresses }],
        }),
      ),
    ),
  );
}

function queries(): Uint8Array[] {
  const names = ['peer.lab.example', '9.3.80.100.in-addr.arpa', 'example.org'];
  return (['A', 'AAAA', 'PTR', 'TXT'] as const).flatMap((type) =>
    names.map((name) =>
      Uint8Array.from(encodeDns({ type: 'query', id: 5, flags: 0x100, questions: [{ type, name }] })),
    ),
  );
}

function eapolPdus(): Uint8Array[] {
  const responses = [
    { type: 1, data: Buffer.from('plc@lab.example') },
    { type: 3, data: Uint8Array.of(13, 21) },
    { type: 13, data: Uint8Array.of(0) },
    { type: 13, data: encodeTlsFragment({ length: 400, more: true, start: false, payload: new Uint8Array(200) }) },
    { type: 13, data: encodeTlsFragment({ length: null, more: false, start: false, payload: new Uint8Array(200) }) },
  ].map((said) => encodeEapol('packet', encodeEap({ code: 'response', id: 0, ...said })));
  return [encodeEapol('start'), encodeEapol('logoff'), encodeEapol('key'), ...responses, ...responses];
}

function packets(): Uint8Array[] {
  const payload = new Uint8Array(60).fill(8, 0, 1);
  const to4 = [gateway4, remote.vip4, plc.vip4, '192.0.2.1', EVERYBODY, '224.0.0.1'];
  const to6 = [gateway6, remote.vip6, plc.vip6, '2001:db8::1', 'ff02::1', linkLocal];
  const each = (source: string, destinations: readonly string[], protocols: readonly number[]) =>
    destinations.flatMap((destination) =>
      protocols.map((protocol) => encodeIp({ source, destination, protocol, hopLimit: 64, payload })),
    );
  return [...each(camera.vip4, to4, [1, 6, 17]), ...each(camera.vip6, to6, [6, 17, 58])];
}

const pairs = [
  encodeAvps([
    { code: 1, vendor: null, mandatory: true, value: Buffer.from('cam1') },
    { code: 2, vendor: null, mandatory: true, value: Buffer.from('correct horse') },
    { code: 5, vendor: 311, mandatory: false, value: new Uint8Array(5) },
  ]),
];

/** The adapter's machine with two devices, of which every login succeeds. */
class LinkUnderFire {
  readonly #random: Random;
  readonly #tally: Tally;
  #ms = 0;
  readonly machine: AdapterMachine;

  constructor(random: Random, tally: Tally) {
    this.#random = random;
    this.#tally = tally;
    this.machine = new AdapterMachine({
      ...{ mac: adapterMac, linkLocal, gateway4, gateway6, range4, range6 },
      ...{ domain: 'lab.example', mtu: 1_400, internet: false },
      random: () => random.below(1_000) / 1_000,
      makeEngine: () => this.#engine(),
    });
    const devices = [general('cam1', cameraMac, 'mac', camera), general('plc', plcMac, 'certificate', plc)];
    this.#take(this.machine.register(devices, () => false, this.#now));
    this.#take(this.machine.certified(this.#now));
  }

  get #now() {
    return { ms: this.#ms, wall: this.#ms };
  }

  frame(octets: Uint8Array): void {
    this.#ms += this.#random.below(300);
    const before = this.#dropped;
    this.#take(this.machine.frame(octets, this.#now));
    if (this.#dropped === before) this.#count('taken');
    if (this.#random.below(16) === 0) this.#take(this.machine.tick(this.#now));
  }

  /** Of the latest EAP packet to a device. */
  eapId = 0;
  #dropped = 0;

  #count(outcome: string): void {
    this.#tally.set(outcome, (this.#tally.get(outcome) ?? 0) + 1);
  }

  /** Does and says what an engine may. */
  #engine(): ScriptedEngine {
    const engine = new ScriptedEngine();
    engine.onFeed = () => {
      engine.outgoing = Uint8Array.of(22);
      engine.established = this.#random.below(2) === 0;
      engine.failed = this.#random.below(4) === 0;
      engine.certificateProof = Uint8Array.of(1);
    };
    return engine;
  }

  #take(actions: readonly AdapterAction[]): void {
    for (const action of actions) {
      if (action.do === 'login') {
        this.#take(this.machine.loggedIn(action.deviceId, action.attempt, 'accepted', this.#now));
      } else if (action.do === 'count' && action.name.startsWith('link-')) {
        const reason = action.name.replace('link-drop-', '');
        const known = (linkDropReasons as readonly string[]).includes(reason) || reason === 'link-unregistered';
        if (!known) throw new Error(`${reason} is no drop reason`);
        this.#dropped++;
        this.#count(reason);
      } else if (action.do === 'transmit') {
        const sent = decodeFrame(action.frame);
        if (typeof sent !== 'string' && sent.etherType === EtherType.eapol) this.eapId = sent.payload[EAP_ID]!;
        if (typeof sent === 'string') throw new Error(`a frame was sent that is ${sent}`);
        if (![cameraMac, plcMac, BROADCAST_MAC].includes(sent.destination))
          throw new Error(`a frame was sent to ${sent.destination}`);
      } else if (action.do === 'query') {
        const query = decodeQuery(action.datagram.payload);
        this.#count(`dns-${query.ok ? 'query' : query.reason}`);
      }
    }
  }
}

/** Gives the machine `count` frames; throws at the first that breaks the promise, with its octets. */
export function fuzzLink(count: number, seed: number, tally: Tally = new Map()): Tally {
  const random = new Random(seed);
  const link = new LinkUnderFire(random, tally);
  const buffer = new Uint8Array(LONGEST);
  // Devices are there before anything is spoiled.
  for (const mac of [cameraMac, plcMac]) link.frame(frameOf(layers[0]!, arps()[0]!, random, 0, mac));
  for (let i = 0; i < count; i++) {
    const octets = anyFrame(buffer, random, link.eapId);
    try {
      link.frame(octets);
      papCredentials(decodeAvps(buffer.slice(0, spoilOne(buffer, pairs, random))) ?? []);
    } catch (error) {
      throw new Error(`${(error as Error).stack}: ${octets.toHex()}`);
    }
  }
  const listed = link.machine.snapshot().length;
  if (listed > 300) throw new Error(`${listed} devices are listed`);
  return tally;
}

function frameOf({ wrap }: Layer, octets: Uint8Array, random: Random, id: number, source = cameraMac): Uint8Array {
  const tag = random.below(8) === 0 ? random.below(0x1_0000) : null;
  return encodeFrame({
    destination: adapterMac,
    source,
    tag,
    ...({ etherType: 0, payload: octets } as const),
    ...wrap(octets, random, id),
  });
}

function anyFrame(buffer: Uint8Array, random: Random, id: number): Uint8Array {
  const layer = layers[random.below(layers.length)]!;
  const whole = layer.corpus[random.below(layer.corpus.length)]!;
  switch (random.below(8)) {
    case 0:
      return frameOf(layer, whole.slice(), random, id);
    case 1:
      // Somebody else's, or anybody's.
      return frameOf(
        layer,
        whole.slice(),
        random,
        id,
        random.below(2) ? strangerMac : formatMac(concat(Uint8Array.of(6, 0), noise(random, 4))),
      );
    case 2:
      return noise(random, random.below(LONGEST));
    case 3: {
      const length = spoilOne(buffer, [frameOf(layer, whole.slice(), random, id)], random);
      return buffer.slice(0, length);
    }
    default:
      return frameOf(layer, buffer.slice(0, spoilOne(buffer, layer.corpus, random)), random, id);
  }
}

function noise(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}
