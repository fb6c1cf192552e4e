/** What a TRS does for whom it does not know yet, and where it cannot do it. */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { expect, it, vi } from 'vitest';
import { Channel } from '../../../src/core/channel.ts';
import { Counters } from '../../../src/lib/counters.ts';
import { writeFrameHead } from '../../../src/net/frames.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { Conduit } from '../../../src/roles/carriage.ts';
import { Guest, type Targets } from '../../../src/roles/trs/guest.ts';
import * as udp from '../../../src/sys/udp.ts';
import { eventually } from '../../support/eventually.ts';
import { World } from '../../support/primitives.ts';

vi.mock('../../../src/sys/udp.ts', { spy: true });

/** To where nobody may send (connect(2): EACCES without SO_BROADCAST). */
const nowhere = { address: '255.255.255.255', port: 9 };

class Connection extends Duplex {
  setNoDelay(): void {}
  override _read(): void {}
  override _write(_: unknown, __: string, done: () => void): void {
    done();
  }
}

/** A stranger's Registration Request in its frame. */
function registration(): Uint8Array {
  const primitives = new World().primitives('stranger');
  const id = 'ab'.repeat(16);
  const channel = new Channel({
    primitives,
    suite: Suite.aes256Gcm,
    baseKey: primitives.random(32),
    id,
    own: { kind: SenderKind.node, instance: 'cd'.repeat(16) },
    accept: new Map(),
    proveAddress: true,
    freshKey: false,
  });
  const [datagram] = channel.seal({
    type: 'registrationRequest',
    id,
    transactionId: 1,
    body: { port: 7441, notificationType: 0, node4: '192.0.2.1', node6: null },
  });
  const framed = new Uint8Array(2 + datagram!.length);
  writeFrameHead(framed, 0, datagram!.length);
  framed.set(datagram!, 2);
  return framed;
}

function guestOf(targets: Targets, admits: () => boolean) {
  const connection = new Connection();
  const counters = new Counters();
  const closed = vi.fn();
  new Guest(connection as unknown as TLSSocket, counters, () => targets, { admits, proven: () => {}, closed });
  return { connection, counters, closed };
}

it('a stranger says to an NMS no more than strangers of its site may', async () => {
  const nms = createSocket('udp4').bind(0, '127.0.0.1');
  await once(nms, 'listening');
  const heard = vi.fn();
  nms.on('message', heard);
  let left = 5;
  const targets = { trs: null, nms: [{ address: '127.0.0.1', port: nms.address().port }] };
  const { connection, counters } = guestOf(targets, () => left-- > 0);
  const said = registration();
  for (let i = 0; i < 200; i++) connection.push(said);
  await eventually(() => expect(heard).toHaveBeenCalledTimes(5));
  expect(counters.snapshot()).toMatchObject({ 'stream-drop-rate-limited': 195 });
  connection.destroy();
  nms.close();
});

it('one for whom no port is left is hung up on', async () => {
  vi.mocked(udp.openUdp).mockImplementationOnce(() => {
    throw new TypeError('EMFILE');
  });
  const { connection, counters, closed } = guestOf({ trs: null, nms: [nowhere] }, () => true);
  connection.push(registration());
  await eventually(() => expect(closed).toHaveBeenCalledOnce());
  expect(counters.snapshot()).toMatchObject({ 'streams-hung-up-no-port': 1 });
});

it('drops what is for an NMS that no way leads to, and tries again with what comes next', async () => {
  const counters = new Counters();
  const conduit = new Conduit('0.0.0.0', nowhere, counters, () => {});
  const lost = (): number => counters.snapshot()['stream-drop-not-sent'] ?? 0;
  for (const count of [1, 2, 3]) {
    conduit.send(Uint8Array.of(1));
    await eventually(() => expect(lost()).toBe(count));
  }
  conduit.close();
});
