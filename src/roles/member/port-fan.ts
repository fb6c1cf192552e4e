/**
 * Many UDP ports towards one endpoint, of which the one that is met stays (docs/protocol.md, Port prediction). They live a
 * few seconds and hear next to nothing, so the main thread just looks at them now and then; the one that stays becomes the
 * data plane's.
 */

import type { NodeAction } from '../../core/node/types.ts';
import { type Endpoint, formatEndpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { DataPlane } from '../../pipeline/dataplane.ts';
import { ReceiveBatch } from '../../sys/mmsg.ts';
import { Poller } from '../../sys/poll.ts';
import { decodeSockaddr } from '../../sys/sockaddr.ts';
import { closeUdp, openUdp, receiveFrom, type UdpSockets } from '../../sys/udp.ts';

const LOOK_MS = 10;
/** Of all identities and peers together. */
const MAX_PORTS = 512;
/** Datagrams heard at one look: a flood waits, and is forgotten with its port. */
const MOST_HEARD = 16;

export type PortAction = Extract<NodeAction, { readonly do: 'openPort' | 'keepPort' | 'closePorts' }>;
/** Who hears what comes in by an opened port. */
export type PortUser = (datagram: Uint8Array, from: Endpoint, port: number) => void;

type Opened = { readonly to: Endpoint; readonly sockets: UdpSockets; readonly user: PortUser };

export class PortFan {
  readonly #plane: Pick<DataPlane, 'branch' | 'sendFrom'>;
  readonly #log: Log;
  #opened: Opened[] = [];
  readonly #kept = new Map<string, PortUser>();
  #poller: Poller | null = null;
  #batch: ReceiveBatch | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(plane: Pick<DataPlane, 'branch' | 'sendFrom'>, log: Log) {
    this.#plane = plane;
    this.#log = log;
  }

  perform(action: PortAction, user: PortUser): void {
    if (action.do === 'openPort') this.#open(action.to, action.datagram, user);
    else if (action.do === 'keepPort') this.#keep(action.to, action.port, user);
    else {
      this.#drop(action.to, user);
      const name = formatEndpoint(action.to);
      if (this.#kept.get(name) !== user) return;
      this.#kept.delete(name);
      this.#plane.branch(action.to, null);
    }
  }

  close(): void {
    for (const { sockets } of this.#opened) closeUdp(sockets);
    this.#changed([]);
  }

  #open(to: Endpoint, datagram: Uint8Array, user: PortUser): void {
    if (this.#opened.length >= MAX_PORTS) return;
    let sockets: UdpSockets;
    try {
      sockets = openUdp({ address4: '0.0.0.0', address6: null, port: 0, orNext: false });
    } catch (error) {
      this.#log.debug('no more ports', { why: String(error) });
      return;
    }
    this.#plane.sendFrom(sockets, to, datagram);
    this.#changed([...this.#opened, { to, sockets, user }]);
  }

  #keep(to: Endpoint, port: number, user: PortUser): void {
    const met = this.#opened.find((one) => one.user === user && one.sockets.port === port);
    if (met === undefined) return;
    this.#opened = this.#opened.filter((one) => one !== met);
    this.#drop(to, user);
    this.#kept.set(formatEndpoint(to), user);
    this.#plane.branch(to, met.sockets);
  }

  #drop(to: Endpoint, user: PortUser): void {
    const gone = this.#opened.filter((one) => one.user === user && sameEndpoint(one.to, to));
    for (const { sockets } of gone) closeUdp(sockets);
    this.#changed(this.#opened.filter((one) => !gone.includes(one)));
  }

  #changed(opened: Opened[]): void {
    this.#opened = opened;
    this.#poller = null;
    if (opened.length > 0) this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    else {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#batch = null;
    }
  }

  #look(): void {
    const opened = this.#opened;
    this.#poller ??= new Poller(opened.map(({ sockets }) => sockets.fd4));
    const poller = this.#poller;
    poller.wait(0);
    let heard = 0;
    for (const [i, one] of opened.entries()) {
      // Hearing one may close the others.
      if (heard < MOST_HEARD && poller.ready(i) && this.#opened.includes(one)) heard += this.#hear(one);
    }
  }

  /** Nothing but what comes from where we sent to: the rest is not for us. */
  #hear({ to, sockets, user }: Opened): number {
    this.#batch ??= new ReceiveBatch(1);
    const batch = this.#batch;
    if (receiveFrom(sockets.fd4, batch) === 0) return 0;
    const from = decodeSockaddr(batch.nameBytes, batch.from(0));
    const datagram = batch.memory.bytes.slice(batch.start(0), batch.start(0) + batch.segment(0));
    if (sameEndpoint(from, to)) user(datagram, from, sockets.port);
    return 1;
  }
}
