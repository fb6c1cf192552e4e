import { CyphonicError } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { requestControl } from './control-socket.ts';
import type { PingReply } from './member.ts';
import { printJson } from './print-json.ts';

const INTERVAL_MS = 1_000;

export type PingFlags = {
  readonly state: string;
  readonly count: number;
  readonly untilDirect?: boolean;
  readonly json?: boolean;
};

/** Pings through the daemon's own signalling, so that it measures the path and not the far host's firewall. */
export async function runPing(
  target: string,
  { state, count, untilDirect, json }: PingFlags,
  context: Context,
): Promise<void> {
  const replies: ({ readonly seq: number } & PingReply)[] = [];
  let sent = 0;
  for (let seq = 1; seq <= count; seq++) {
    const started = performance.now();
    sent = seq;
    const reply = (await requestControl(state, { method: 'ping', params: { target } })) as PingReply | null;
    if (reply !== null) replies.push({ seq, ...reply });
    if (!json) context.print(describe(target, seq, reply));
    if (untilDirect && reply !== null && reply.path !== 'relay') break;
    const rest = INTERVAL_MS - (performance.now() - started);
    if (seq < count && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  }
  const summary = { target, replies, sent, received: replies.length };
  if (json) printJson(summary, context);
  else context.print(`${sent} sent, ${replies.length} received`);
  if (replies.length === 0) throw new CyphonicError('PEER_NO_REPLY', { target });
}

function describe(target: string, seq: number, reply: PingReply | null): string {
  if (reply === null) return `${target}: seq ${seq} no reply`;
  return `${target}: seq ${seq} ${reply.rttMs.toFixed(2)} ms by ${reply.path} ${reply.endpoint}`;
}
