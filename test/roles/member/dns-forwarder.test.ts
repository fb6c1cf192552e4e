/** What the resolver does with names outside the overlay. */

import { once } from 'node:events';
import { createServer } from 'node:net';
import { decode, encode, streamDecode, streamEncode } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { parsePrefix } from '../../../src/lib/ip.ts';
import {
  answerWith,
  askTcp,
  askUdp,
  closing,
  counters,
  freePort,
  query,
  respond,
  start,
  upstream,
} from './resolver-under-test.ts';

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
