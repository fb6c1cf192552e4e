/** An I/O thread: one or both directions of the data path, in a loop that blocks in poll and ends when it is told to. */

import { parentPort, workerData } from 'node:worker_threads';
import { raise } from '../lib/errors.ts';
import { EventFd, Poller } from '../sys/poll.ts';
import { type PacketDevice, Tun } from '../sys/tun.ts';
import { UdpPort } from '../sys/udp.ts';
import { EventWriter } from './event-ring.ts';
import { HostTable } from './hosts.ts';
import { Inside, PACKETS_AT_ONCE } from './inside.ts';
import { LinkDevice } from './link-device.ts';
import { Mailbox } from './mailbox.ts';
import { Outside } from './outside.ts';
import { portOf } from './pcap-port.ts';
import { Relay } from './relay.ts';
import { FrameLimiter } from './source-limiter.ts';
import { Tally, TrafficCounters } from './tally.ts';
import type { OffloadName, Report, ThreadCommand, ThreadSetup } from './threads.ts';
import { warmUp } from './warmup.ts';

const port = parentPort ?? raise('BUG_UNREACHABLE', { what: 'an I/O thread without a parent' });
const setup = workerData as ThreadSetup;
const wake = new EventFd(setup.wakeFd);
const mailbox = new Mailbox<ThreadCommand>(port, setup.pending, wake);
const tally = new Tally(setup.tally, setup.row);
const traffic = new TrafficCounters(setup.traffic);
const report = (message: Report): void => port.postMessage(message);
const events = new EventWriter(setup.events, () => report({ events: true }));
const udp = new UdpPort(setup.udp);
let running = true;

/** A process that exits without stopping its threads first waits for them; they notice when they run again. */
const LONGEST_WAIT_MS = 500;

/** Contexts hold their own copies of keys; the message's are not left lying in the heap. */
function forgetKeys(command: ThreadCommand['command']): void {
  if (command.do !== 'installKey') return;
  command.sendKey.fill(0);
  command.receiveKey.fill(0);
}

/** The TUN, and with it the inner link if there is one. */
function openDevice(): PacketDevice | null {
  if (setup.tun === null) return null;
  const tun = new Tun(setup.tun);
  if (setup.link === null || hosts === null) return tun;
  const { overlay } = setup;
  const { gateways, internet } = setup.link;
  const limiter = new FrameLimiter();
  const admit = (high: number, low: number): boolean =>
    limiter.admit(high, low, hosts.has(high, low), performance.now());
  const { local: own } = setup;
  const { sources, ports, mtu } = setup.link.port;
  const port = portOf(sources, mtu);
  const eapol = ports.map((side) => portOf([side], mtu));
  return new LinkDevice({ tun, port, eapol, hosts, overlay, gateways, own, internet, tally, events, admit });
}

/** Tells once of every offload that was given up on the way. */
function watchOffload(name: OffloadName, enabled: () => boolean): () => void {
  let known = enabled();
  return () => {
    if (!known || enabled()) return;
    known = false;
    report({ refused: name });
  };
}

type Halves = { readonly inside: Inside | null; readonly outside: Outside | null };

/** Hands a command to whom it concerns. */
function carryOut({ command, place }: ThreadCommand, { inside, outside }: Halves): void {
  switch (command.do) {
    case 'stop':
      running = false;
      return;
    case 'setHosts':
      hosts?.set(command.hosts);
      return;
    case 'setLocal':
      inside?.setLocal(command.addresses);
      return;
    case 'setResolvers':
      if (device instanceof LinkDevice) device.setResolvers(command.addresses);
      return;
    case 'branch':
      udp.branch(command.to, command.fd);
      return;
    case 'addRelay':
    case 'bindSide':
    case 'removeRelay':
      outside?.relay?.command(command, place);
      return;
    default:
      inside?.command(command, place);
      outside?.command(command, place);
      forgetKeys(command);
  }
}

function routine(halves: Halves, deviceFds: readonly number[]): void {
  const { inside, outside } = halves;
  const coalescer = outside?.coalescer ?? null;
  const watches = [watchOffload('udpSegment', () => udp.segment)];
  if (coalescer !== null) {
    watches.push(
      watchOffload('tunTcp', () => coalescer.tcp),
      watchOffload('tunUdp', () => coalescer.udp),
    );
  }
  const udpFds = (): readonly number[] => (outside === null ? [] : udp.descriptors);
  let sockets = udpFds();
  let poller = new Poller([...sockets, setup.wakeFd, ...deviceFds]);
  const handle = (command: ThreadCommand): void => {
    carryOut(command, halves);
    if (command.command.do !== 'branch') return;
    sockets = udpFds();
    poller = new Poller([...sockets, setup.wakeFd, ...deviceFds]);
  };
  let drained = true;
  while (running) {
    const busy = !drained || mailbox.waiting || outside?.isBusy === true;
    poller.wait(busy ? 0 : LONGEST_WAIT_MS);
    if (mailbox.waiting) mailbox.take(handle);
    if (outside !== null) {
      outside.settle();
      for (let socket = 0; socket < sockets.length; socket++) if (poller.ready(socket)) outside.pump(socket);
    }
    // After what came in: the answer to it may be waiting already.
    drained = inside === null || inside.pump() < PACKETS_AT_ONCE;
    if (traffic.isAwaited) report({ traffic: true });
    for (let i = 0; i < watches.length; i++) watches[i]!();
  }
}

const parts = { port: udp, tally, traffic, events, now: () => performance.now() };
const hosts = setup.link === null ? null : new HostTable(setup.link.port.mac);
const device = openDevice();
if (device !== null) warmUp();
const { direction, tun } = setup;
const inside =
  direction === 'outside' || device === null
    ? null
    : new Inside({
        ...parts,
        device,
        overlay: setup.overlay,
        localPort: setup.udp.port,
        copyDscp: setup.copyDscp,
        pool: setup.pool,
      });
inside?.setLocal(setup.local);
const outside =
  direction === 'inside'
    ? null
    : new Outside({
        ...parts,
        device,
        offload: { tcp: tun?.tcp ?? false, udp: tun?.udp ?? false },
        relay: setup.relay ? (received) => new Relay(udp, received, tally, traffic) : null,
        forbidden: setup.forbidden,
        signalling: setup.signalling,
        pool: setup.pool,
      });
const frames = setup.link === null ? [] : [...setup.link.port.sources, ...setup.link.port.ports];
const devices = inside === null || tun === null ? [] : [tun, ...frames];
report({ ready: true });
routine(
  { inside, outside },
  devices.map(({ fd }) => fd),
);
