/** A resolver on a loopback address, those who ask it, and name servers that do as they are told. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type DecodedPacket, decode, encode, type Packet, streamDecode, streamEncode } from 'dns-packet';
import { afterEach } from 'vitest';
import { Counters } from '../../../src/lib/counters.ts';
import { parsePrefix } from '../../../src/lib/ip.ts';
import { silentLog } from '../../../src/lib/log.ts';
import type { Lookup } from '../../../src/net/dns-responder.ts';
import { type Resolver, type ResolverOptions, startResolver } from '../../../src/roles/member/resolver.ts';

export type Answer = DecodedPacket & { readonly rcode: string };

/** One of the test's own process: others run beside it. */
export const address = `127.53.${(process.pid >> 8) & 255}.${process.pid & 255}`;
export const overlay = ['100.80.0.0/16', 'fd00:80::/64'].map((text) => parsePrefix(text)!);
export const closing: (() => void)[] = [];
export const counters = new Counters();

afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

export const lookUp: Lookup = async (target) =>
  target.by === 'name' && target.name === 'b.lab.example'
    ? { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: 'fd00:80::3' }
    : 'unknown';

export async function start(options: Partial<ResolverOptions> = {}): Promise<Resolver> {
  const resolver = await startResolver({
    vip4: address,
    vip6: null,
    port: 20_053,
    zone: { domain: 'lab.example', overlay, server: 'a.lab.example' },
    lookUp,
    log: silentLog,
    counters,
    ...options,
  });
  closing.push(() => resolver.close());
  return resolver;
}

export const socketOf = ({ endpoint: { address: host, port } }: Resolver): { host: string; port: number } => ({
  host,
  port,
});

export async function askUdp(resolver: Resolver, query: Packet): Promise<Answer> {
  const socket = createSocket('udp4');
  closing.push(() => socket.close());
  socket.send(encode(query), resolver.endpoint.port, resolver.endpoint.address);
  const [octets] = (await once(socket, 'message')) as [Buffer];
  return decode(octets) as Answer;
}

export async function askTcp(resolver: Resolver, ...queries: readonly Packet[]): Promise<Answer[]> {
  const socket = connect(resolver.endpoint.port, resolver.endpoint.address);
  closing.push(() => socket.destroy());
  for (const query of queries) socket.write(streamEncode(query));
  const answers: Answer[] = [];
  let octets = Buffer.alloc(0);
  for await (const chunk of socket) {
    octets = Buffer.concat([octets, chunk]);
    while (octets.length >= 2 && octets.length >= 2 + octets.readUInt16BE(0)) {
      answers.push(streamDecode(octets) as Answer);
      octets = octets.subarray(2 + octets.readUInt16BE(0));
    }
    if (answers.length === queries.length) return answers;
  }
  throw new Error(`the connection ended after ${answers.length} answers`);
}

export const query = (name: string, id = 7): Packet => ({
  type: 'query',
  id,
  flags: 0x100,
  questions: [{ name, type: 'A' }],
});

export type Asked = { readonly octets: Buffer; readonly port: number; reply(octets: Uint8Array): void };

/** A name server that does as it is told. */
export async function upstream(
  react: (asked: Asked) => void,
  at = '127.0.0.1',
): Promise<{ address: string; port: number; asked: Asked[] }> {
  const socket: Socket = createSocket('udp4');
  const asked: Asked[] = [];
  socket.on('message', (octets, from) => {
    const one = { octets, port: from.port, reply: (o: Uint8Array) => socket.send(o, from.port, from.address) };
    asked.push(one);
    react(one);
  });
  socket.bind(0, at);
  await once(socket, 'listening');
  closing.push(() => socket.close());
  return { address: at, port: socket.address().port, asked };
}

export const answerWith =
  (data: string, more: Partial<Packet> = {}) =>
  ({ octets, reply }: Asked): void =>
    reply(respond(octets, data, more));

export function respond(octets: Buffer, data: string, more: Partial<Packet> = {}): Buffer {
  const { id, questions } = decode(octets);
  const answers = [{ type: 'A' as const, name: questions![0]!.name, data }];
  return encode({ type: 'response', id: id!, questions: questions!, answers, ...more });
}

/** A port of the loopback address that nobody has. */
export async function freePort(): Promise<number> {
  const server: Server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
