import { fileURLToPath } from 'node:url';
import type { Namespace } from './namespace.ts';
import { UdpAgent } from './udp.ts';

const streamFile = fileURLToPath(new URL('./stream.ts', import.meta.url));

export type Transfer = {
  readonly mebibytes: number;
  readonly port?: number;
  readonly perSecond?: number;
  readonly patienceMs?: number;
};

/** Sends a file's worth of octets by TCP and returns what each end counted and hashed, as text. */
export async function stream(
  from: Namespace,
  to: Namespace,
  address: string,
  { mebibytes, port = 5001, perSecond, patienceMs = 60_000 }: Transfer,
): Promise<{ readonly sent: string; readonly received: string }> {
  const receiver = to.spawn([process.execPath, streamFile, 'receive', address, String(port)]);
  await receiver.output(/^ready$/m);
  const size = [String(mebibytes), ...(perSecond === undefined ? [] : [String(perSecond)])];
  const sender = from.spawn([process.execPath, streamFile, 'send', address, String(port), ...size], { input: '' });
  const sent = await sender.done(patienceMs);
  const received = await receiver.done(patienceMs);
  return { sent: sent.trim(), received: received.replace('ready', '').trim() };
}

/** UDP there and back between two addresses, with datagrams of several sizes. */
export async function datagrams(
  here: Namespace,
  hereAddress: string,
  there: Namespace,
  thereAddress: string,
): Promise<void> {
  const [a, b] = await Promise.all([
    UdpAgent.start(here, 6001, hereAddress),
    UdpAgent.start(there, 6002, thereAddress),
  ]);
  for (const size of [1, 500, 1200, 4000]) {
    const { from, port } = await a.reach(b, 'x'.repeat(size));
    await b.reach(a, 'y'.repeat(size), { address: from, port });
  }
  await Promise.all([a.stop(), b.stop()]);
}
