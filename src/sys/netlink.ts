/**
 * Links, addresses and routes of this thread's network namespace, by AF_NETLINK sockets. The kernel answers within the
 * send call, so that requests never block and are safe on the main thread.
 */

import type { Socket } from 'node:net';
import { raise } from '../lib/errors.ts';
import type { Prefix } from '../lib/ip.ts';
import { adopt } from './adopt.ts';
import { raiseErrno } from './errno.ts';
import { addressOf, errno } from './ffi.ts';
import { check, libc } from './libc.ts';
import {
  changeGroups,
  decodeError,
  decodeEvent,
  decodeMessages,
  encodeAddress,
  encodeDumpBody,
  encodeLink,
  encodeMessage,
  encodeRoute,
  type Link,
  type LinkAddress,
  type LinkSettings,
  messageFlag,
  messageType,
  type NetworkEvent,
  type NewRoute,
  type Route,
} from './netlink-codec.ts';
import { setOption, setReceiveBuffer } from './socket-option.ts';

export type { Link, LinkAddress, LinkSettings, NetworkEvent, NewRoute, Route } from './netlink-codec.ts';
export { hostPrefix } from './netlink-codec.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const EINTR = 4;
const EEXIST = 17;
const ENOENT = 2;
const ESRCH = 3;
const EADDRNOTAVAIL = 99;

/** The largest read the kernel offers is 32 KiB. */
const READ_SIZE = 65536;
/** For changes that come while the main thread is busy. */
const MONITOR_BUFFER = 1 << 20;

function openSocket(flags = 0, groups = 0): number {
  const fd = check(libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC | flags, NETLINK_ROUTE), 'socket(AF_NETLINK)');
  const address = Buffer.allocUnsafeSlow(12).fill(0);
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(groups, 8);
  try {
    check(libc().bind(fd, addressOf(address), address.length), 'bind(AF_NETLINK)');
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  return fd;
}

class NetlinkSocket {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_SIZE);
  readonly #bufferAddress = addressOf(this.#buffer);
  #fd = openSocket();

  option(level: number, option: number, value: number): void {
    // Every option set here only makes things better; an older kernel without it still works.
    setOption(this.#fd, level, option, value);
  }

  send(octets: Buffer): void {
    check(libc().send(this.#fd, addressOf(octets), octets.length, 0), 'send(AF_NETLINK)');
  }

  /** One read, valid until the next; or the errno. */
  receive(): Buffer | number {
    const length = libc().recv(this.#fd, this.#bufferAddress, READ_SIZE, 0);
    return length < 0 ? errno() : this.#buffer.subarray(0, length);
  }

  close(): void {
    if (this.#fd >= 0) libc().close(this.#fd);
    this.#fd = -1;
  }
}

export class Netlink {
  readonly #socket = new NetlinkSocket();
  #sequence = 0;

  constructor() {
    this.#socket.option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    this.#socket.option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
  }

  links(): Link[] {
    return this.#dump(messageType.getLink).flatMap((event) => (event.on === 'link' ? [event.link] : []));
  }

  addresses(): LinkAddress[] {
    return this.#dump(messageType.getAddress).flatMap((event) => (event.on === 'address' ? [event.address] : []));
  }

  routes(): Route[] {
    return this.#dump(messageType.getRoute).flatMap((event) => (event.on === 'route' ? [event.route] : []));
  }

  link(name: string): Link | null {
    return this.links().find((link) => link.name === name) ?? null;
  }

  setLink(index: number, settings: LinkSettings): void {
    this.#change('set link', messageType.newLink, 0, encodeLink(index, settings));
  }

  /** Adds an address, ready at once (no duplicate address detection); one that is there already is kept. */
  addAddress(index: number, prefix: Prefix): void {
    const flags = messageFlag.create | messageFlag.replace;
    this.#change('add address', messageType.newAddress, flags, encodeAddress(index, prefix), EEXIST);
  }

  /** Removes an address; one that is not there is fine. */
  removeAddress(index: number, prefix: Prefix): void {
    this.#change('remove address', messageType.deleteAddress, 0, encodeAddress(index, prefix), EADDRNOTAVAIL);
  }

  /** Adds a route to the main table, in place of one to the same destination with the same metric. */
  addRoute(route: NewRoute): void {
    const flags = messageFlag.create | messageFlag.replace;
    this.#change('add route', messageType.newRoute, flags, encodeRoute(route));
  }

  /** Removes a route; one that is not there is fine. */
  removeRoute(route: NewRoute): void {
    this.#change('remove route', messageType.deleteRoute, 0, encodeRoute(route), ESRCH, ENOENT);
  }

  close(): void {
    this.#socket.close();
  }

  #receive(): Buffer {
    for (;;) {
      const octets = this.#socket.receive();
      if (typeof octets !== 'number') return octets;
      if (octets !== EINTR) raiseErrno('recv(AF_NETLINK)', '', octets);
    }
  }

  #change(what: string, type: number, flags: number, body: Buffer, ...accepted: readonly number[]): void {
    const sequence = ++this.#sequence;
    this.#socket.send(encodeMessage(type, messageFlag.request | messageFlag.acknowledge | flags, sequence, body));
    for (;;) {
      for (const message of decodeMessages(this.#receive())) {
        if (message.sequence !== sequence || message.type !== messageType.error) continue;
        const error = decodeError(message);
        if (error.errno !== 0 && !accepted.includes(error.errno)) raiseErrno(what, error.text, error.errno);
        return;
      }
    }
  }

  #dump(type: number): NetworkEvent[] {
    // An interrupted dump may have missed entries; under constant change the last try has to do.
    for (let tries = 4; ; tries--) {
      const { events, interrupted } = this.#dumpOnce(type);
      if (!interrupted || tries === 0) return events;
    }
  }

  #dumpOnce(type: number): { events: NetworkEvent[]; interrupted: boolean } {
    const sequence = ++this.#sequence;
    this.#socket.send(encodeMessage(type, messageFlag.request | messageFlag.dump, sequence, encodeDumpBody()));
    const events: NetworkEvent[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of decodeMessages(this.#receive())) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & messageFlag.dumpInterrupted) !== 0) interrupted = true;
        if (message.type === messageType.done) return { events, interrupted };
        if (message.type === messageType.error) raiseErrno('list network', '', decodeError(message).errno);
        const event = decodeEvent(message);
        if (event !== null) events.push(event);
      }
    }
  }
}

/** The index of a link that has to be there. */
export function linkIndex(netlink: Netlink, name: string): number {
  return netlink.link(name)?.index ?? raise('SYS_NO_INTERFACE', { name });
}

export type NetworkMonitor = { close(): void };

/** A change seldom comes alone: what else comes within this time is told with it (ms). */
const TOGETHER_MS = 50;

/** Reports changes of links, addresses and routes. */
export function monitorNetwork(changed: (events: readonly NetworkEvent[]) => void): NetworkMonitor {
  let stream: Socket;
  const events: NetworkEvent[] = [];
  let timer: NodeJS.Timeout | undefined;
  const tell = (): void => {
    timer = undefined;
    if (stream.destroyed) listen();
    changed(events.splice(0));
  };
  const heard = (event: NetworkEvent): void => {
    events.push(event);
    timer ??= setTimeout(tell, TOGETHER_MS).unref();
  };
  const listen = (): void => {
    const fd = openSocket(SOCK_NONBLOCK, changeGroups);
    setReceiveBuffer(fd, MONITOR_BUFFER);
    stream = adopt(fd).unref();
    stream.on('data', (octets: Buffer) => {
      for (const message of decodeMessages(octets)) {
        const event = decodeEvent(message);
        if (event !== null) heard(event);
      }
    });
    // ENOBUFS says that messages were lost; after anything else, reading everything again is right as well.
    stream.on('error', () => heard({ on: 'overrun' }));
    stream.resume();
  };
  listen();
  return {
    close: () => {
      clearTimeout(timer);
      stream.destroy();
    },
  };
}
