import { describe, expect, it } from 'vitest';
import type { LinkEvent, PathEvent } from '../../src/lib/path.ts';
import { EventReader, EventWriter, eventMemory } from '../../src/pipeline/event-ring.ts';
import { encodeSockaddr } from '../../src/sys/sockaddr.ts';
import fc from '../support/property.ts';
import { ACK, buildPacket, ordinaryFlow } from './packets.ts';

/** `position`: where writing and reading stand. */
function ring(position = 0) {
  const memory = eventMemory();
  new Int32Array(memory).fill(position, 0, 2);
  let woken = 0;
  const writer = new EventWriter(memory, () => woken++);
  return { writer, reader: new EventReader(memory), woken: () => woken };
}

const from = { address: '2001:db8::1', port: 4711 };
const opened: PathEvent = { on: 'opened', pathId: 'ab'.repeat(16), epoch: 3, from };

function write(writer: EventWriter, event: PathEvent): boolean {
  if (event.on === 'datagram') return writer.datagram(event.datagram, encodeSockaddr(event.from));
  return event.on === 'unrouted' ? writer.unrouted(event.packet) : writer.other(event);
}

describe('the ring of events', () => {
  it('gives every event back in order, however reading and writing alternate', () => {
    const event: fc.Arbitrary<PathEvent> = fc.oneof(
      fc.integer({ min: 1, max: 1232 }).map(
        (length): PathEvent => ({
          on: 'datagram',
          datagram: new Uint8Array(length).fill(length),
          from: { address: `192.0.2.${length % 250}`, port: length },
        }),
      ),
      fc.record({ length: fc.integer({ min: 0, max: 1400 }), v6: fc.boolean() }).map(
        ({ length, v6 }): PathEvent => ({
          on: 'unrouted',
          packet: buildPacket(
            { ...ordinaryFlow, v6 },
            { id: 1, sequence: 1, flags: ACK, payload: new Uint8Array(length) },
          ),
          source: v6 ? 'fd00:80::1' : '100.80.0.1',
          destination: v6 ? 'fd00:80::2' : '100.80.0.2',
        }),
      ),
      fc.constant(opened),
    );
    // Far more than the ring holds in all: it goes round several times, and its positions past 32 bits.
    const { writer, reader } = ring(0x7fff_f000);
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 150 }), fc.nat(150), (events, readFirst) => {
        for (const each of events) expect(write(writer, each)).toBe(true);
        const read: (PathEvent | LinkEvent | null)[] = [];
        for (let i = 0; i < readFirst && i < events.length; i++) read.push(reader.read());
        expect(write(writer, opened)).toBe(true);
        for (let next = reader.read(); next !== null; next = reader.read()) read.push(next);
        expect(read).toEqual([...events, opened]);
      }),
      { numRuns: 60 },
    );
  });

  it('refuses what does not fit, keeps room for events of our own keys, and goes on afterwards', () => {
    const { writer, reader } = ring();
    const datagram = new Uint8Array(1232);
    let written = 0;
    while (writer.datagram(datagram, encodeSockaddr(from))) written++;
    expect(writer.unrouted(datagram)).toBe(false);
    expect(writer.other(opened)).toBe(true);
    let others = 1;
    while (writer.other(opened)) others++;
    for (let i = 0; i < written; i++) expect(reader.read()).toEqual({ on: 'datagram', datagram, from });
    for (let i = 0; i < others; i++) expect(reader.read()).toEqual(opened);
    expect(reader.read()).toBeNull();
    expect(writer.datagram(datagram, encodeSockaddr(from))).toBe(true);
    expect(reader.read()).toEqual({ on: 'datagram', datagram, from });
  });

  it('wakes the reader once until it has looked, and not for nothing', () => {
    const { writer, reader, woken } = ring();
    writer.flush();
    expect(woken()).toBe(0);
    for (let i = 0; i < 3; i++) {
      writer.other(opened);
      writer.flush();
    }
    expect(woken()).toBe(1);
    reader.listen();
    writer.other(opened);
    writer.flush();
    expect(woken()).toBe(2);
  });
});
