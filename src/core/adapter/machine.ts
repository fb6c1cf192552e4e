/**
 * The adapter's machine (protocol section 5): which devices of the inner link are general nodes of the overlay, and what is
 * said to them there. What each of them does in the overlay is the matter of its own NodeMachine.
 */

import type { Address } from '../../lib/ip.ts';
import type { Mac } from '../../lib/mac.ts';
import type { Now } from '../../lib/time.ts';
import type { UdpDatagram } from '../../net/datagram.ts';
import { decodeFrame, EtherType, encodeFrame, vlanOf } from '../../net/ethernet.ts';
import type { LinkDropReason } from '../../net/link-drop.ts';
import { Buckets } from '../limits.ts';
import { GeneralNode } from './general-node.ts';
import { Link } from './link.ts';
import { Supplicants } from './supplicants.ts';
import type {
  AdapterAction,
  AdapterOptions,
  GeneralNodeSnapshot,
  LoginResult,
  Proof,
  RegisteredDevice,
} from './types.ts';

/** A device as the data plane admits it. */
export type ActiveHost = {
  readonly mac: Mac;
  readonly tag: number | null;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
};

/** Devices that are not registered and are listed all the same, the latest. */
const MAX_STRANGERS = 256;
/** How long a device is taken to wait for an answer (ms). */
const STILL_THERE_MS = 10_000;
/** Frames of a device that wait for its admission: a client asks again only after seconds. */
const MAX_WAITING = 4;
/** Lines of one kind about one device, or about all that are unknown: whoever is plugged in fills no disk. */
const LINES = { burst: 20, perSecond: 1 };
/** What a device does to others, or claims to be: worth a line in the log. */
const suspicious: readonly LinkDropReason[] = [
  'neighbour-spoofed',
  'packet-spoofed',
  'rogue-router',
  'dhcp4-rogue-server',
  'dhcp6-rogue-server',
  'dhcp4-hardware-address',
  'address-declined',
];

export class AdapterMachine {
  readonly #options: AdapterOptions;
  readonly #nodes = new Map<string, GeneralNode>();
  readonly #byMac = new Map<Mac, GeneralNode>();
  /** By MAC address, with what they said last: it is answered if they are registered soon after. */
  readonly #strangers = new Map<Mac, { readonly octets: Uint8Array; readonly at: number }>();
  readonly #waiting = new Map<Mac, Uint8Array[]>();
  readonly #link: Link;
  readonly #supplicants: Supplicants;
  readonly #lines = new Buckets(LINES);
  #attempts = 0;
  /** Time of the latest frame. */
  #frameAt = 0;
  #actions: AdapterAction[] = [];
  #wake = Number.POSITIVE_INFINITY;

  constructor(options: AdapterOptions) {
    this.#options = options;
    this.#supplicants = new Supplicants(options, {
      nodeOf: (mac) => this.#byMac.get(mac),
      ask: (node, proof) => this.#ask(node, proof),
      send: (to, pdu) => this.#sendEapol(to, pdu),
      ended: ({ device: { deviceId, mac } }, failure) => {
        this.#actions.push({ do: 'count', name: failure === null ? 'dot1x-accepted' : `dot1x-failed-${failure}` });
        // Anybody on the link can log anybody off, again and again.
        if (failure === null || !this.#lines.take(`${mac} ${failure}`, this.#frameAt)) return;
        const fields = { deviceId, mac, reason: failure };
        this.#actions.push({ do: 'log', level: 'info', message: 'not authenticated', fields });
      },
      drop: (reason, mac) => this.#drop(reason, mac),
    });
    this.#link = new Link(options, {
      active: (mac) => this.#active(mac),
      ownerOf: (address) => this.#ownerOf(address)?.device.mac ?? null,
      tagOf: (mac) => this.#byMac.get(mac)?.tag ?? null,
      emit: (...actions) => this.#actions.push(...actions),
      eapol: (mac, pdu, now) => this.#supplicants.receive(mac, pdu, now),
      drop: (reason, mac) => this.#drop(reason, mac),
    });
  }

  /** The general nodes as the register has them; `granted` tells which have a login that still counts. */
  register(devices: readonly RegisteredDevice[], granted: (deviceId: string) => boolean, now: Now): AdapterAction[] {
    return this.#run(() => {
      const listed = new Set(devices.map(({ deviceId }) => deviceId));
      for (const [deviceId, node] of this.#nodes) if (!listed.has(deviceId)) this.#remove(deviceId, node, now);
      for (const device of devices) {
        const known = this.#nodes.get(device.deviceId);
        if (known !== undefined) this.#change(known, device, now);
        else this.#add(device, granted(device.deviceId), now);
      }
    });
  }

  /** A frame of the inner link. */
  frame(octets: Uint8Array, now: Now): AdapterAction[] {
    return this.#run(() => this.#receive(octets, now));
  }

  /** The outcome of a `login`. */
  loggedIn(deviceId: string, attempt: number, result: LoginResult, now: Now): AdapterAction[] {
    return this.#run(() => {
      const node = this.#nodes.get(deviceId);
      if (node === undefined || this.#supplicants.decided(node, attempt, result, now)) return;
      node.ended(attempt, result, now);
    });
  }

  /** Its login shall be renewed: by its MAC address, or by asking the device once more. */
  renew(deviceId: string, now: Now): AdapterAction[] {
    return this.#run(() => {
      const node = this.#nodes.get(deviceId);
      if (node?.isActive) this.#begin(node, now);
    });
  }

  /** From now on `makeEngine` has a certificate to show: devices that came before it are asked now. */
  certified(now: Now): AdapterAction[] {
    return this.#run(() => {
      this.#supplicants.certified();
      for (const node of this.#nodes.values()) if (!node.byMac && node.state === 'seen') this.#begin(node, now);
    });
  }

  /** The overlay says that a general node is no longer welcome. */
  revoked(deviceId: string, now: Now): AdapterAction[] {
    return this.#run(() => {
      const node = this.#nodes.get(deviceId);
      node?.refuse(now);
      if (node?.device.mac != null) this.#supplicants.forget(node.device.mac, now);
    });
  }

  resolved(deviceId: string, query: UdpDatagram, response: Uint8Array): AdapterAction[] {
    return this.#run(() => {
      const node = this.#nodes.get(deviceId);
      if (node?.isActive && node.device.mac !== null) this.#link.resolved(node.device.mac, query, response);
    });
  }

  /** The cable was pulled: who authenticated over it does so again (IEEE 802.1X-2010 section 8.4). */
  unplugged(now: Now): AdapterAction[] {
    return this.#run(() => {
      for (const node of this.#nodes.values()) {
        if (node.byMac || node.device.mac === null) continue;
        this.#supplicants.forget(node.device.mac, now);
        node.gone(now);
      }
    });
  }

  tick(now: Now): AdapterAction[] {
    return this.#run(() => {
      this.#wake = Number.POSITIVE_INFINITY;
      for (const node of this.#nodes.values()) node.tick(now);
      this.#link.tick(now);
      this.#supplicants.tick(now);
    });
  }

  /** A TLS engine of the authenticator is no longer busy. */
  progressed(mac: Mac, now: Now): AdapterAction[] {
    return this.#run(() => this.#supplicants.progressed(mac, now));
  }

  /** The adapter stops. */
  stop(now: Now): AdapterAction[] {
    return this.#run(() => {
      this.#link.withdraw();
      for (const node of this.#nodes.values()) node.gone(now);
    });
  }

  /** Devices whose packets are carried. */
  get hosts(): ActiveHost[] {
    return [...this.#nodes.values()].flatMap(({ isActive, tag, device: { mac, vip4, vip6 } }) =>
      isActive && mac !== null ? [{ mac, tag, vip4, vip6 }] : [],
    );
  }

  /** The active general node that has a name or an address. */
  find(target: { readonly name: string } | { readonly address: Address }): RegisteredDevice | undefined {
    const nodes = [...this.#nodes.values()].filter(({ isActive }) => isActive);
    return nodes.find(({ device }) => ('name' in target ? device.fqdn === target.name : owns(device, target.address)))
      ?.device;
  }

  snapshot(): GeneralNodeSnapshot[] {
    const registered = [...this.#nodes.values()].map(({ device, state }): GeneralNodeSnapshot => {
      const { deviceId, nodeId, fqdn, vip4, vip6, mac, auth } = device;
      return { deviceId, nodeId, fqdn, vip4, vip6, mac, auth, state };
    });
    const strangers = [...this.#strangers.keys()].map(
      (mac): GeneralNodeSnapshot => ({
        ...{ deviceId: null, nodeId: null, fqdn: null, vip4: null, vip6: null, auth: null },
        mac,
        state: 'seen',
      }),
    );
    return [...registered, ...strangers];
  }

  #run(input: () => void): AdapterAction[] {
    input();
    let wake = Math.min(this.#link.due, this.#supplicants.due);
    for (const { due } of this.#nodes.values()) wake = Math.min(wake, due);
    if (wake !== this.#wake) this.#actions.push({ do: 'wake', at: wake });
    this.#wake = wake;
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  #receive(octets: Uint8Array, now: Now): void {
    this.#frameAt = now.ms;
    const frame = decodeFrame(octets);
    if (typeof frame === 'string') {
      this.#actions.push({ do: 'count', name: `link-drop-${frame}` });
      return;
    }
    const node = this.#byMac.get(frame.source);
    if (node === undefined) {
      this.#stranger(frame.source, octets, now);
      return;
    }
    if (vlanOf(node.tag) !== vlanOf(frame.tag)) {
      // Who authenticates over one VLAN does so there: its MAC address on another is a name that anybody may take.
      if (!node.byMac && (node.isActive || this.#supplicants.isBusy(frame.source))) {
        this.#drop('frame-tag', frame.source);
        return;
      }
      node.tag = frame.tag;
      if (node.isActive) this.#actions.push({ do: 'hostsChanged' });
    }
    node.heard(now);
    this.#link.receive(frame, now);
    if (!node.isActive && frame.etherType !== EtherType.eapol) this.#keep(frame.source, octets);
  }

  #add(device: RegisteredDevice, granted: boolean, now: Now): void {
    const node = new GeneralNode(device, granted, {
      authenticate: (which, now) => this.#begin(which, now),
      joined: (which, now) => this.#joined(which, now),
      left: (which) => this.#left(which, false),
      probe: (which) => this.#link.probe(which),
    });
    this.#nodes.set(device.deviceId, node);
    this.#place(node, now);
  }

  #place(node: GeneralNode, now: Now): void {
    const { mac } = node.device;
    if (mac === null) return;
    this.#byMac.set(mac, node);
    const stranger = this.#strangers.get(mac);
    this.#strangers.delete(mac);
    if (stranger !== undefined && now.ms - stranger.at < STILL_THERE_MS) this.#receive(stranger.octets, now);
  }

  #change(node: GeneralNode, device: RegisteredDevice, now: Now): void {
    const { mac } = node.device;
    const moved = mac !== device.mac || node.device.auth !== device.auth;
    if (!node.changed(device, now)) return;
    if (mac !== null) this.#supplicants.forget(mac, now);
    if (!moved) return;
    this.#unplace(node, mac, now);
    this.#place(node, now);
  }

  #remove(deviceId: string, node: GeneralNode, now: Now): void {
    node.gone(now);
    this.#nodes.delete(deviceId);
    this.#unplace(node, node.device.mac, now);
    this.#actions.push({ do: 'leave', deviceId, forget: true });
  }

  #unplace(node: GeneralNode, mac: Mac | null, now: Now): void {
    if (mac === null) return;
    if (this.#byMac.get(mac) === node) this.#byMac.delete(mac);
    this.#waiting.delete(mac);
    this.#supplicants.forget(mac, now);
  }

  #stranger(mac: Mac, octets: Uint8Array, { ms: at }: Now): void {
    const isNew = !this.#strangers.delete(mac);
    this.#strangers.set(mac, { octets, at });
    if (this.#strangers.size > MAX_STRANGERS) this.#strangers.delete(this.#strangers.keys().next().value!);
    this.#actions.push({ do: 'count', name: 'link-unregistered' });
    if (isNew && this.#lines.take('unregistered', at)) {
      this.#actions.push({
        do: 'log',
        level: 'info',
        message: 'unregistered device on the inner link',
        fields: { mac },
      });
    }
  }

  #active(mac: Mac): GeneralNode | undefined {
    const node = this.#byMac.get(mac);
    return node?.isActive ? node : undefined;
  }

  #ownerOf(address: Address): GeneralNode | undefined {
    return [...this.#nodes.values()].find((node) => node.isActive && owns(node.device, address));
  }

  #begin(node: GeneralNode, now: Now): void {
    const { mac } = node.device;
    if (mac === null) return;
    if (node.byMac) this.#ask(node, { kind: 'mac', mac });
    else this.#supplicants.begin(mac, now);
  }

  #ask(node: GeneralNode, proof: Proof): number {
    const attempt = ++this.#attempts;
    node.began(attempt);
    this.#actions.push({ do: 'login', deviceId: node.device.deviceId, attempt, proof });
    return attempt;
  }

  #joined(node: GeneralNode, now: Now): void {
    const { deviceId, mac, fqdn } = node.device;
    this.#actions.push({ do: 'join', deviceId }, { do: 'hostsChanged' });
    this.#actions.push({
      do: 'log',
      level: 'info',
      message: 'general node is active',
      fields: { deviceId, fqdn, mac },
    });
    this.#link.joined(node, now);
    const waiting = mac === null ? undefined : this.#waiting.get(mac);
    if (mac === null || waiting === undefined) return;
    this.#waiting.delete(mac);
    for (const octets of waiting) {
      const frame = decodeFrame(octets);
      if (typeof frame !== 'string' && vlanOf(frame.tag) === vlanOf(node.tag)) this.#link.receive(frame, now);
    }
  }

  #left(node: GeneralNode, forget: boolean): void {
    const { deviceId, mac } = node.device;
    this.#link.left(node);
    this.#actions.push({ do: 'leave', deviceId, forget }, { do: 'hostsChanged' });
    this.#actions.push({
      do: 'log',
      level: 'info',
      message: 'general node is no longer active',
      fields: { deviceId, mac },
    });
  }

  #keep(mac: Mac, octets: Uint8Array): void {
    const waiting = this.#waiting.get(mac) ?? [];
    this.#waiting.set(mac, [...waiting, octets].slice(-MAX_WAITING));
  }

  #sendEapol(destination: Mac, payload: Uint8Array): void {
    const tag = this.#byMac.get(destination)?.tag ?? null;
    const { mac: source } = this.#options;
    const frame = encodeFrame({ destination, source, tag, etherType: EtherType.eapol, payload });
    this.#actions.push({ do: 'transmit', frame });
  }

  #drop(reason: LinkDropReason, mac: Mac): void {
    this.#actions.push({ do: 'count', name: `link-drop-${reason}` });
    if (!suspicious.includes(reason) || !this.#lines.take(`${mac} ${reason}`, this.#frameAt)) return;
    const deviceId = this.#byMac.get(mac)?.device.deviceId ?? null;
    this.#actions.push({
      do: 'log',
      level: 'warn',
      message: `dropped on the inner link: ${reason}`,
      fields: { mac, deviceId },
    });
  }
}

function owns(device: RegisteredDevice, address: Address): boolean {
  return device.vip4 === address || device.vip6 === address;
}
