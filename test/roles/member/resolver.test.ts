import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { encode, streamDecode, streamEncode } from 'dns-packet';
import { describe, expect, it, vi } from 'vitest';
import { address, askTcp, askUdp, closing, counters, lookUp, query, socketOf, start } from './resolver-under-test.ts';

const patient = { timeout: 20_000 };

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
    await expect.poll(() => sources.length, patient).toBe(2);
    expect(sources).toEqual(['127.0.0.1', '127.0.0.1']);
    expect(counters.get('dns_foreign_source')).toBe(before + 2);
  });

  it('answers more queries of a connection than it works on at once, also after the last was said', async () => {
    const resolver = await start();
    const socket = connect({ ...socketOf(resolver), allowHalfOpen: true });
    const count = 500;
    socket.end(Buffer.concat(Array.from({ length: count }, (_, i) => streamEncode(query('b.lab.example', i)))));
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk);
    const ids = new Set<number>();
    for (let rest = Buffer.concat(chunks); rest.length > 0; rest = rest.subarray(2 + rest.readUInt16BE(0))) {
      ids.add(streamDecode(rest).id!);
    }
    expect(ids.size).toBe(count);
  });

  it('gives each source its share only, of queries and of connections', async () => {
    const held: (() => void)[] = [];
    const resolver = await start({
      lookUp: (target) =>
        held.length < 3
          ? new Promise((resolve) => held.push(() => resolve(lookUp(target, address))))
          : lookUp(target, address),
      mayAsk: () => true,
      // Two addresses of one device.
      share: { queries: 2, connections: 2, holder: (source) => (source === '127.0.0.65' ? '127.0.0.66' : source) },
    });
    const from = (localAddress: string): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect({ ...socketOf(resolver), localAddress });
        closing.push(() => socket.destroy());
        socket.on('error', () => {}).once('close', () => resolve(false));
        socket.write(streamEncode(query('b.lab.example')));
        socket.once('data', () => resolve(true));
      });
    const before = { connections: counters.get('dns_connections_refused'), queries: counters.get('dns_overload') };
    const greedy = ['127.0.0.66', '127.0.0.65', '127.0.0.66', '127.0.0.65'].map(from);
    await expect.poll(() => counters.get('dns_connections_refused'), patient).toBe(before.connections + 2);
    await expect.poll(() => held.length, patient).toBe(2);
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    socket.bind(0, '127.0.0.66');
    socket.send(encode(query('b.lab.example')), resolver.endpoint.port, resolver.endpoint.address);
    await expect.poll(() => counters.get('dns_overload'), patient).toBe(before.queries + 1);
    const modest = from('127.0.0.67');
    await expect.poll(() => held.length, patient).toBe(3);
    for (const release of held) release();
    expect(await modest).toBe(true);
    expect((await Promise.all(greedy)).filter(Boolean)).toHaveLength(2);
    // What is over is free again.
    for (const close of closing.splice(1)) close();
    await expect.poll(() => from('127.0.0.66'), patient).toBe(true);
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

  it('says SERVFAIL within 4 s where the lookup does not end, and at once where it fails', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    closing.push(() => void vi.useRealTimers());
    const looking = Promise.withResolvers<void>();
    const resolver = await start({
      lookUp(target) {
        if (target.by !== 'name' || !target.name.startsWith('never')) return Promise.reject('broken');
        looking.resolve();
        return new Promise(() => {});
      },
    });
    expect(await askUdp(resolver, query('fails.lab.example'))).toMatchObject({ rcode: 'SERVFAIL' });
    const answer = askUdp(resolver, query('never.lab.example'));
    await looking.promise;
    vi.advanceTimersByTime(4_000);
    expect(await answer).toMatchObject({ rcode: 'SERVFAIL' });
  });
});
