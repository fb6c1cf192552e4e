/** When a node goes over TLS and when it comes back, in simulated time. */

import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { Flag } from '../../../src/proto/messages.ts';
import { Rogue } from './rogue.ts';

const one: Endpoint = { address: '198.51.100.20', port: 443, over: 'tls' };
const two: Endpoint = { address: '198.51.100.30', port: 443, over: 'tls' };

function node(deaf: boolean, streams: readonly Endpoint[] = [one]): Rogue {
  return new Rogue(Suite.aes256Gcm, deaf, streams);
}

function open(rogue: Rogue, endpoint: Endpoint): void {
  rogue.streamed = true;
  rogue.do(rogue.machine.streamed(endpoint, { open: true }, rogue.now));
}

const connected = (rogue: Rogue): Endpoint[] => rogue.of('connect').map(({ endpoint }) => endpoint);
const transports = (rogue: Rogue): string[] =>
  rogue.machine.snapshot(rogue.now).services.flatMap((s) => (s.state === 'up' ? [s.transport] : []));

describe('a node whose UDP is answered', () => {
  it('never asks for a stream', () => {
    const rogue = node(false);
    rogue.pass(300_000, 500);
    expect(connected(rogue)).toEqual([]);
  });
});

describe('a node whose UDP is not answered', () => {
  it('asks for a stream after 2 s and registers over it, saying so, and takes no address from it', () => {
    const rogue = node(true);
    rogue.pass(1_900);
    expect(connected(rogue)).toEqual([]);
    rogue.pass(200);
    expect(connected(rogue)).toEqual([one]);
    open(rogue, one);
    expect(rogue.of('online')).toHaveLength(1);
    expect(rogue.received.at(-1)).toMatchObject({ type: 'registrationRequest', flags: Flag.first | Flag.streamed });
    expect(rogue.machine.snapshot(rogue.now)).toMatchObject({ state: 'online', mapped: [], nat: null });
    expect(transports(rogue)).toEqual(['tls']);
  });

  it('takes the next TRS when one does not let it in', () => {
    const rogue = node(true, [one, two]);
    rogue.pass(2_100);
    rogue.do(rogue.machine.streamed(one, { why: 'ECONNREFUSED' }, rogue.now));
    rogue.pass(100);
    expect(connected(rogue)).toEqual([one, two]);
  });

  it('tries the only one again, later and later', () => {
    const rogue = node(true);
    for (let i = 0; i < 1_200; i++) {
      rogue.pass(100);
      if (connected(rogue).length > rogue.of('count').filter(({ name }) => name === 'streams-closed').length) {
        rogue.do(rogue.machine.streamed(one, { why: 'ECONNREFUSED' }, rogue.now));
      }
    }
    expect(connected(rogue).length).toBeGreaterThan(4);
    expect(connected(rogue).length).toBeLessThan(14);
  });

  it('opens a stream that broke again at once', () => {
    const rogue = node(true);
    rogue.pass(2_100);
    open(rogue, one);
    rogue.do(rogue.machine.streamed(one, { why: 'silent' }, rogue.now));
    rogue.pass(1_000);
    expect(connected(rogue)).toEqual([one, one]);
  });

  it('leaves the stream within seconds when UDP is answered again, and ends it', () => {
    const rogue = node(true);
    rogue.pass(2_100);
    open(rogue, one);
    rogue.pass(120_000, 500);
    expect(transports(rogue)).toEqual(['tls']);
    rogue.deaf = false;
    rogue.pass(4_000);
    expect(transports(rogue)).toEqual(['udp']);
    rogue.pass(6_000);
    expect(rogue.of('disconnect')).toEqual([{ do: 'disconnect', endpoint: one }]);
  });

  it('keeps no stream to where no NMS answers either', () => {
    const rogue = node(true);
    rogue.pass(2_100);
    rogue.do(rogue.machine.streamed(one, { open: true }, rogue.now));
    rogue.pass(25_000, 100);
    expect(rogue.of('disconnect')).toHaveLength(1);
    expect(connected(rogue).length).toBeLessThan(3);
  });
});
