import { spawn, spawnSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { type DecodedPacket, decode, encode, type Packet, streamDecode, streamEncode } from 'dns-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { Counters } from '../../../src/lib/counters.ts';
import { parsePrefix } from '../../../src/lib/ip.ts';
import { silentLog } from '../../../src/lib/log.ts';
import type { Lookup } from '../../../src/net/dns-responder.ts';
import { type Resolver, type ResolverOptions, startResolver } from '../../../src/roles/member/resolver.ts';

type Answer = DecodedPacket & { readonly rcode: string };

const address = '127.53.0.1';
const overlay = ['100.80.0.0/16', 'fd00:80::/64'].map((text) => parsePrefix(text)!);
const closing: (() => void)[] = [];
const counters = new Counters();

afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

const lookUp: Lookup = async (target) =>
  target.by === 'name' && target.name === 'b.lab.example'
    ? { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: 'fd00:80::3' }
    : 'unknown';

async function start(options: Partial<ResolverOptions> = {}): Promise<Resolver> {
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

async function askUdp(resolver: Resolver, query: Packet): Promise<Answer> {
  const socket = createSocket('udp4');
  closing.push(() => socket.close());
  socket.send(encode(query), resolver.endpoint.port, resolver.endpoint.address);
  const [octets] = (await once(socket, 'message')) as [Buffer];
  return decode(octets) as Answer;
}

async function askTcp(resolver: Resolver, ...queries: readonly Packet[]): Promise<Answer[]> {
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

const query = (name: string, id = 7): Packet => ({
  type: 'query',
  id,
  flags: 0x100,
  questions: [{ name, type: 'A' }],
});

type Asked = { readonly octets: Buffer; readonly port: number; reply(octets: Uint8Array): void };

/** A name server that does as it is told. */
async function upstream(
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

const answerWith =
  (data: string, more: Partial<Packet> = {}) =>
  ({ octets, reply }: Asked): void =>
    reply(respond(octets, data, more));

function respond(octets: Buffer, data: string, more: Partial<Packet> = {}): Buffer {
  const { id, questions } = decode(octets);
  const answers = [{ type: 'A' as const, name: questions![0]!.name, data }];
  return encode({ type: 'response', id: id!, questions: questions!, answers, ...more });
}

/** A port of the loopback address that nobody has. */
async function freePort(): Promise<number> {
  const server: Server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('the resolver', () => {
  it('answers over UDP and TCP', async () => {
    const resolver = await start();
    const wanted = { id: 7, rcode: 'NOERROR', answers: [{ name: 'b.lab.example', data: '100.80.0.3' }] };
    expect(await askUdp(resolver, query('b.lab.example'))).toMatchObject(wanted);
    expect(await askTcp(resolver, query('b.lab.example'))).toMatchObject([wanted]);
    const several = [query('b.lab.example', 1), query('nobody.lab.example', 2), query('b.lab.example', 3)];
    const answers = await askTcp(resolver, ...several);
    expect(answers.map(({ id, rcode }) => `${id} ${rcode}`).sort()).toEqual(['1 NOERROR', '2 NXDOMAIN', '3 NOERROR']);
  });

  it.skipIf(spawnSync('dig', ['-v']).error !== undefined)('is understood by dig', async () => {
    const resolver = await start();
    const dig = async (...args: readonly string[]): Promise<string> => {
      const child = spawn('dig', [`@${address}`, '-p', String(resolver.endpoint.port), '+short', ...args]);
      let text = '';
      for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
      return text.trim();
    };
    expect(await dig('B.Lab.example', 'A')).toBe('100.80.0.3');
    expect(await dig('b.lab.example', 'AAAA', '+tcp')).toBe('fd00:80::3');
    expect(await dig('lab.example', 'SOA')).toMatch(/^a\.lab\.example\. hostmaster\.lab\.example\. /);
  });

  it('takes the next port if one is taken, for UDP and TCP together', async () => {
    const first = await start();
    const second = await start();
    expect(second.endpoint.port).toBe(first.endpoint.port + 1);
    const tcp = createServer().listen(second.endpoint.port + 1, address);
    await once(tcp, 'listening');
    closing.push(() => tcp.close());
    const third = await start();
    expect(third.endpoint.port).toBe(second.endpoint.port + 2);
    expect(await askUdp(third, query('b.lab.example'))).toMatchObject({ rcode: 'NOERROR' });
    // Nothing stays behind on the port that had room for UDP only.
    const udp = createSocket('udp4').bind(second.endpoint.port + 1, address);
    closing.push(() => udp.close());
    await once(udp, 'listening');
  });

  it('does without an address that the host lacks, but not without all', async () => {
    const resolver = await start({ vip4: '192.0.2.1', vip6: '::1' });
    expect(resolver.endpoint.address).toBe('::1');
    await expect(start({ vip4: '192.0.2.1', vip6: '2001:db8::1' })).rejects.toMatchObject({ code: 'SYS_RESOLVER' });
  });

  it('answers nobody else', async () => {
    const sources: string[] = [];
    const mayAsk = (source: string): boolean => {
      sources.push(source);
      return false;
    };
    const resolver = await start({ mayAsk });
    const before = counters.get('dns_foreign_source');
    await expect(askTcp(resolver, query('b.lab.example'))).rejects.toThrow(/ended after 0 answers|ECONNRESET/);
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    socket.on('message', () => sources.push('answered'));
    socket.send(encode(query('b.lab.example')), resolver.endpoint.port, resolver.endpoint.address);
    await expect.poll(() => sources.length).toBe(2);
    expect(sources).toEqual(['127.0.0.1', '127.0.0.1']);
    expect(counters.get('dns_foreign_source')).toBe(before + 2);
  });

  it('survives garbage', async () => {
    const resolver = await start();
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    for (let i = 0; i < 200; i++) {
      socket.send(Buffer.alloc(i, i), resolver.endpoint.port, resolver.endpoint.address);
    }
    const stream = connect(resolver.endpoint.port, resolver.endpoint.address);
    stream.on('error', () => {});
    stream.resume().end(Buffer.alloc(5000, 0x01));
    await new Promise((resolve) => stream.once('close', resolve));
    expect(await askUdp(resolver, query('b.lab.example'))).toMatchObject({ rcode: 'NOERROR' });
  });

  it('says SERVFAIL where the lookup does not end, and where it fails', async () => {
    const resolver = await start({
      lookUp: (target) =>
        target.by === 'name' && target.name.startsWith('never') ? new Promise(() => {}) : Promise.reject('broken'),
    });
    const answers = await Promise.all([
      askUdp(resolver, query('never.lab.example')),
      askUdp(resolver, query('fails.lab.example')),
    ]);
    expect(answers.map(({ rcode }) => rcode)).toEqual(['SERVFAIL', 'SERVFAIL']);
  });
});

describe('other names', () => {
  it('are asked of the former servers, under other ids and from other ports', async () => {
    const resolver = await start();
    const server = await upstream(answerWith('192.0.2.80'));
    resolver.setUpstreams([server]);
    const names = Array.from({ length: 20 }, (_, i) => `www${i}.example.org`);
    for (const name of names) {
      expect(await askUdp(resolver, query(name))).toMatchObject({ id: 7, answers: [{ name, data: '192.0.2.80' }] });
    }
    expect(new Set(server.asked.map(({ octets }) => octets.readUInt16BE(0))).size).toBeGreaterThan(15);
    expect(new Set(server.asked.map(({ port }) => port)).size).toBeGreaterThan(15);
  });

  it('are asked of the next server if one is not there, does not know or says nothing', async () => {
    const resolver = await start();
    const failing = await upstream(answerWith('192.0.2.1', { flags: 2, answers: [] }));
    const good = await upstream(answerWith('192.0.2.80'));
    resolver.setUpstreams([{ address: '127.0.0.1', port: await freePort() }, failing, good]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ answers: [{ data: '192.0.2.80' }] });
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ answers: [{ data: '192.0.2.80' }] });
    // The second time the one that answered is asked first.
    expect(failing.asked).toHaveLength(1);
    const silent = await upstream(() => {});
    resolver.setUpstreams([silent, good]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ answers: [{ data: '192.0.2.80' }] });
    expect(silent.asked).toHaveLength(1);
  });

  it('fail as the servers do, and where there are none', async () => {
    const resolver = await start();
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
    const refusing = await upstream(answerWith('', { flags: 5, answers: [] }));
    resolver.setUpstreams([refusing]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ rcode: 'REFUSED' });
    expect(refusing.asked).toHaveLength(2);
  });

  it('are not asked of ourselves', async () => {
    const range = parsePrefix('127.80.0.0/16')!;
    const resolver = await start({ zone: { domain: 'lab.example', overlay: [range], server: 'a.lab.example' } });
    const peer = await upstream(answerWith('192.0.2.80'), '127.80.0.2');
    resolver.setUpstreams([peer]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ rcode: 'SERVFAIL' });
    expect(peer.asked).toEqual([]);
  });

  it('are not answered by who guesses', async () => {
    const resolver = await start();
    const server = await upstream(({ octets, reply }) => {
      const forged = respond(octets, '203.0.113.66');
      forged.writeUInt16BE(octets.readUInt16BE(0) ^ 1, 0);
      reply(forged);
      const other = encode({ ...decode(octets), questions: [{ name: 'www.example.com', type: 'A' }] });
      reply(respond(other, '203.0.113.66'));
      reply(respond(octets, '192.0.2.80'));
    });
    resolver.setUpstreams([server]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ answers: [{ data: '192.0.2.80' }] });
  });

  it('never lead into the overlay', async () => {
    const resolver = await start();
    const rebinding = await upstream(answerWith('100.80.0.3'));
    resolver.setUpstreams([rebinding]);
    const before = counters.get('dns_rebinding_dropped');
    expect(await askUdp(resolver, query('evil.example.org'))).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
    expect(counters.get('dns_rebinding_dropped')).toBe(before + 1);
    expect(rebinding.asked).toHaveLength(1);
  });

  it('are asked over TCP by who asks over TCP, as after a truncated answer', async () => {
    const resolver = await start();
    const truncating = await upstream(answerWith('', { flags: 0x200, answers: [] }));
    const large = Array.from({ length: 200 }, (_, i) => ({
      type: 'A' as const,
      name: 'www.example.org',
      data: `192.0.2.${i}`,
    }));
    const tcp = createServer((socket) => {
      socket.on('data', (octets: Buffer) => {
        const { id, questions } = streamDecode(octets);
        const framed = streamEncode({ type: 'response', id: id!, questions: questions!, answers: large });
        // In pieces, as TCP is free to do.
        socket.write(framed.subarray(0, 100));
        setImmediate(() => socket.end(framed.subarray(100)));
      });
    }).listen(truncating.port, truncating.address);
    await once(tcp, 'listening');
    closing.push(() => tcp.close());
    resolver.setUpstreams([truncating]);
    expect(await askUdp(resolver, query('www.example.org'))).toMatchObject({ flag_tc: true, answers: [] });
    const [answer] = await askTcp(resolver, query('www.example.org'));
    expect(answer!.answers).toHaveLength(200);
  });

  it('with answers too large for the client are cut', async () => {
    const resolver = await start();
    const answers = Array.from({ length: 60 }, (_, i) => ({ type: 'A' as const, name: 'x.org', data: `192.0.2.${i}` }));
    const server = await upstream(answerWith('', { answers }));
    resolver.setUpstreams([server]);
    expect(await askUdp(resolver, query('x.org'))).toMatchObject({ flag_tc: true, answers: [] });
  });
});
