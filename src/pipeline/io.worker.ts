/** An I/O thread: one direction of the data path, in a loop that blocks in poll and ends when it is told to. */

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
  const { source, ports, mtu } = setup.link.port;
  const port = portOf(source, mtu);
  const eapol = ports.map((side) => portOf(side, mtu));
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

function routineInside(inside: Inside, deviceFds: readonly number[]): void {
  const poller = new Poller([...deviceFds, setup.wakeFd]);
  const watch = watchOffload('udpSegment', () => udp.segment);
  const handle = ({ command, place }: ThreadCommand): void => {
    if (command.do === 'stop') running = false;
    else if (command.do === 'setLocal') inside.setLocal(command.addresses);
    else if (command.do === 'setHosts') hosts?.set(command.hosts);
    else if (command.do === 'branch') udp.branch(command.to, command.fd);
    else if (command.do !== 'addRelay' && command.do !== 'bindSide' && command.do !== 'removeRelay') {
      inside.command(command, place);
    }
    forgetKeys(command);
  };
  let drained = true;
  while (running) {
    if (drained) poller.wait(mailbox.waiting ? 0 : LONGEST_WAIT_MS);
    if (mailbox.waiting) mailbox.take(handle);
    drained = inside.pump() < PACKETS_AT_ONCE;
    watch();
  }
}

function routineOutside(outside: Outside): void {
  let sockets = udp.descriptors;
  let poller = new Poller([setup.wakeFd, ...sockets]);
  const { coalescer } = outside;
  const watches = [watchOffload('udpSegment', () => udp.segment)];
  if (coalescer !== null) {
    watches.push(
      watchOffload('tunTcp', () => coalescer.tcp),
      watchOffload('tunUdp', () => coalescer.udp),
    );
  }
  const handle = ({ command, place }: ThreadCommand): void => {
    if (command.do === 'stop') running = false;
    else if (command.do === 'addRelay' || command.do === 'bindSide' || command.do === 'removeRelay') {
      outside.relay?.command(command, place);
    } else if (command.do === 'setHosts') hosts?.set(command.hosts);
    else if (command.do === 'branch') {
      udp.branch(command.to, command.fd);
      sockets = udp.descriptors;
      poller = new Poller([setup.wakeFd, ...sockets]);
    } else if (command.do !== 'setLocal') outside.command(command, place);
    forgetKeys(command);
  };
  while (running) {
    poller.wait(mailbox.waiting || outside.isBusy ? 0 : LONGEST_WAIT_MS);
    if (mailbox.waiting) mailbox.take(handle);
    outside.settle();
    for (let socket = 0; socket < sockets.length; socket++) if (poller.ready(socket + 1)) outside.pump(socket);
    for (const watch of watches) watch();
  }
}

const parts = { port: udp, tally, traffic, events, now: () => performance.now() };
const hosts = setup.link === null ? null : new HostTable(setup.link.port.mac);
const device = openDevice();
if (device !== null) warmUp();
if (setup.direction === 'inside' && device !== null && setup.tun !== null) {
  const inside = new Inside({
    ...parts,
    device,
    overlay: setup.overlay,
    localPort: setup.udp.port,
    copyDscp: setup.copyDscp,
    pool: setup.pool,
  });
  inside.setLocal(setup.local);
  report({ ready: true });
  const frames = setup.link === null ? [] : [setup.link.port.source, ...setup.link.port.ports];
  routineInside(inside, [setup.tun.fd, ...frames.map(({ fd }) => fd)]);
} else {
  const outside = new Outside({
    ...parts,
    device,
    offload: { tcp: setup.tun?.tcp ?? false, udp: setup.tun?.udp ?? false },
    relay: setup.relay ? (received) => new Relay(udp, received, tally, traffic) : null,
    forbidden: setup.forbidden,
    signalling: setup.signalling,
    pool: setup.pool,
  });
  report({ ready: true });
  routineOutside(outside);
}
