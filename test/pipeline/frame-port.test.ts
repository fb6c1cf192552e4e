/** What both frame ports do, on a link of the kernel: packet sockets and libpcap. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseMac } from '../../src/lib/mac.ts';
import { captures } from '../../src/sys/frame-port.ts';
import { numberOfSource } from '../../src/sys/packet-filter.ts';
import { until } from '../lab/toolkit/command.ts';
import { Lab } from '../lab/toolkit/lab.ts';
import { cable, type Namespace } from '../lab/toolkit/namespace.ts';
import { describeLab, inLab } from '../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../support/remote.ts';
import type { Heard } from './frame-port-agent.ts';
import {
  ACK,
  bare,
  buildPacket,
  FIN,
  type Flow,
  ordinaryFlow,
  PSH,
  pieces,
  split,
  superPacket,
  virtioHeader,
} from './packets.ts';

const agent = modulePath('test/pipeline/frame-port-agent.ts');
const UFO = 3;
const VIRTIO = 10;
const ENETDOWN = 100;
const start = { id: 65_530, sequence: 0xffff_fff0, flags: ACK | PSH | FIN };
const payload = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => Math.imul(i + seed, 0x9e37) >>> 8);
const six: Flow = { ...ordinaryFlow, v6: true };
const udp: Flow = { ...ordinaryFlow, udp: true };

type Address = { readonly to: string; readonly from: string };
type Tag = { readonly protocol: number; readonly control: number };

/** A frame behind its virtio-net header; `content` has the virtio-net header of the packet alone. */
function frameOf({ to, from }: Address, content: Uint8Array, tags: readonly Tag[] = [], type?: number): string {
  const etherType = type ?? (content[VIRTIO]! >> 4 === 6 ? 0x86dd : 0x0800);
  const header = [...parseMac(to), ...parseMac(from)];
  for (const { protocol, control } of tags) header.push(protocol >> 8, protocol & 255, control >> 8, control & 255);
  header.push(etherType >> 8, etherType & 255);
  const octets = Uint8Array.from([...content.subarray(0, VIRTIO), ...header, ...content.subarray(VIRTIO)]);
  const view = new DataView(octets.buffer);
  if (view.getUint8(0) === 1) {
    view.setUint16(6, view.getUint16(6, true) + header.length, true);
    if (view.getUint8(1) !== 0) view.setUint16(2, view.getUint16(2, true) + header.length, true);
  }
  return octets.toHex();
}

/** The packets that a frame stands for, as they would be on a wire; null if they are not to be found out. */
function onTheWire({ head, content }: Heard): string[] | null {
  const octets = Uint8Array.fromHex(head.slice(0, 2 * VIRTIO) + content);
  const view = new DataView(octets.buffer);
  if (view.getUint8(0) === 1) view.setUint16(6, view.getUint16(6, true) - 14, true);
  return split(octets)?.map(({ packet }) => Buffer.from(packet).toString('hex')) ?? null;
}

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
/** The packets of a whole send, cut for frames of 1,500 octets. */
const cut = (flow: Flow, data: Uint8Array, size: number): string[] =>
  pieces(flow, data, size, start).map((piece) => hex(buildPacket(flow, piece)));

for (const capture of captures) {
  describeLab(`a frame port by ${capture}`, () => {
    let lab: Lab;
    let gateway: Namespace;
    let port: Remote;
    let device: Remote;
    let inward: Address;
    let outward: Address;

    beforeAll(async () => {
      lab = new Lab(`port ${capture}`);
      gateway = lab.namespace('gateway');
      const host = lab.namespace('device');
      cable(gateway, 'eth1', host, 'eth0');
      // The kernels of both have nothing to say.
      for (const [namespace, name] of [
        [gateway, 'eth1'],
        [host, 'eth0'],
      ] as const) {
        namespace.sh(`echo 1 >/proc/sys/net/ipv6/conf/${name}/disable_ipv6; ip link set ${name} up`);
      }
      port = new Remote(gateway, agent);
      device = new Remote(host, agent);
      const ends = [await port.call<string>('open', 'eth1', capture), await device.call<string>('openDevice', 'eth0')];
      inward = { to: ends[0]!, from: ends[1]! };
      outward = { to: ends[1]!, from: ends[0]! };
    });

    afterAll(() => lab?.close());

    const marker = bare(buildPacket(udp, { id: 1, sequence: 0, flags: 0, payload: payload(40) }));
    const says = async (end: Remote, frame: string): Promise<void> => expect(await end.call('say', frame)).toBe(0);
    const heard = async (end: Remote): Promise<Heard> => {
      const frame = await end.call<Heard | null>('hear');
      expect(frame, 'a frame in time').not.toBeNull();
      return frame!;
    };
    /** All packets up to the marker, which is said last. */
    const packets = async (end: Remote): Promise<(string[] | null)[]> => {
      const all = (await end.call<Heard[]>('hearUntil', hex(marker.subarray(VIRTIO)))).map(onTheWire);
      expect(all.pop(), 'the last frame').toEqual([hex(marker.subarray(VIRTIO))]);
      return all;
    };
    /** What one end hears of frames that the other says. */
    const passes = async (
      from: Remote,
      to: Remote,
      way: Address,
      contents: readonly Uint8Array[],
      tags: readonly Tag[] = [],
    ) => {
      for (const content of [...contents, marker]) await says(from, frameOf(way, content, tags));
      return packets(to);
    };

    describe.each(['in', 'out'] as const)('%s', (direction) => {
      const pass = (contents: readonly Uint8Array[], tags: readonly Tag[] = []) =>
        direction === 'in'
          ? passes(device, port, inward, contents, tags)
          : passes(port, device, outward, contents, tags);

      it('passes a packet as it is', async () => {
        for (const flow of [ordinaryFlow, six, udp, { ...six, udp: true }]) {
          const packet = buildPacket(flow, { ...start, payload: payload(333) });
          expect(await pass([bare(packet)])).toEqual([[hex(packet)]]);
        }
      });

      it('completes a checksum that was left to hardware, and no other', async () => {
        for (const flow of [ordinaryFlow, six, udp, { ...six, udp: true }]) {
          const piece = { ...start, payload: payload(333) };
          const left = Uint8Array.from([...virtioHeader(flow, 0), ...buildPacket(flow, piece, true)]);
          expect(await pass([left])).toEqual([[hex(buildPacket(flow, piece))]]);
          const wrong = buildPacket(flow, piece);
          wrong[wrong.length - 1]! ^= 1;
          expect(await pass([bare(wrong)])).toEqual([[hex(wrong)]]);
        }
      });

      it('cuts TCP that is longer than a frame of the link, and loses nothing of it', async () => {
        for (const flow of [ordinaryFlow, six, { ...ordinaryFlow, options: new Uint8Array(12).fill(1) }]) {
          const size = 1_500 - (flow.v6 ? 60 : 40) - flow.options.length;
          const data = payload(60_000);
          for (const tags of [[], [{ protocol: 0x8100, control: 0x6005 }]]) {
            const found = await pass([superPacket(flow, data, size, start)], tags);
            expect(found.flat()).toEqual(cut(flow, data, size));
          }
        }
      });
    });

    it('makes nothing of large UDP that was not sent', async () => {
      const data = payload(9_000);
      const sent = cut(udp, data, 1_000);
      const [found] = await passes(device, port, inward, [superPacket(udp, data, 1_000, start)]);
      // libpcap does not tell how long each was: nobody takes it.
      expect(found).toEqual(capture === 'packet' ? sent : null);
      expect((await passes(port, device, outward, [superPacket(udp, data, 1_000, start)])).flat()).toEqual(sent);
    });

    it('tells tags from what they are on, and sends them', async () => {
      const tag = { protocol: 0x8100, control: 0x6005 };
      await says(device, frameOf(inward, marker, [tag]));
      const plain = await heard(port);
      expect(plain).toMatchObject({ tag: 0x6005, tagProtocol: 0x8100, content: hex(marker.subarray(VIRTIO)) });
      expect(plain.head.slice(2 * VIRTIO)).toBe(frameOf(inward, marker).slice(2 * VIRTIO, 2 * (VIRTIO + 14)));
      await says(device, frameOf(inward, marker, [{ protocol: 0x88a8, control: 7 }]));
      expect(await heard(port)).toMatchObject({ tag: 7, tagProtocol: 0x88a8 });
      await says(device, frameOf(inward, marker, [tag, { protocol: 0x8100, control: 6 }]));
      const twice = await heard(port);
      expect(twice).toMatchObject({ tag: 0x6005, tagProtocol: 0x8100 });
      expect(twice.head.slice(-4)).toBe('8100');
      expect(twice.content.slice(0, 8)).toBe('00060800');
      await says(device, frameOf(inward, marker));
      expect(await heard(port)).toMatchObject({ tag: -1, tagProtocol: 0 });
      await says(port, frameOf(outward, marker, [tag]));
      expect(await heard(device)).toMatchObject({ tag: 0x6005, tagProtocol: 0x8100 });
    });

    it('hears what is for the adapter, and nothing else', async () => {
      const arp = Uint8Array.from([...new Uint8Array(VIRTIO), 0, 1, 8, 0, 6, 4, 0, 1, ...new Uint8Array(20)]);
      const others: readonly [to: string, content: Uint8Array, type?: number][] = [
        ['02:00:00:00:00:99', marker],
        ['01:00:5e:00:00:fb', marker],
        ['ff:ff:ff:ff:ff:ff', marker],
        ['01:80:c2:00:00:0e', arp, 0x88cc],
      ];
      for (const [to, content, type] of others) await says(device, frameOf({ ...inward, to }, content, [], type));
      const eapol: Uint8Array = Uint8Array.from([...new Uint8Array(VIRTIO), 1, 1, 0, 0]);
      await says(device, frameOf({ ...inward, to: '01:80:c2:00:00:03' }, eapol, [], 0x888e));
      expect((await heard(port)).head.slice(-4)).toBe('888e');
      await says(device, frameOf({ ...inward, to: 'ff:ff:ff:ff:ff:ff' }, arp, [], 0x0806));
      expect((await heard(port)).head.slice(-4)).toBe('0806');
    });

    it('does not hear what is said here, by itself or by the kernel', async () => {
      gateway.sh(
        'ip address add 192.0.2.1/24 dev eth1; ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:09 dev eth1; ping -c 1 -W 0.1 192.0.2.2 || true',
      );
      expect(await passes(port, device, outward, [])).toHaveLength(1);
      expect(await passes(device, port, inward, [])).toEqual([]);
    });

    it('goes on after the link was down', async () => {
      gateway.sh('ip link set eth1 down; ip link set eth1 up');
      expect(await passes(device, port, inward, [])).toEqual([]);
      gateway.sh('ip link set eth1 down');
      expect(await port.call('say', frameOf(outward, marker))).toBe(ENETDOWN);
      gateway.sh('ip link set eth1 up');
      // The first one is told that the link was down meanwhile.
      await until(async () => (await port.call('say', frameOf(outward, marker))) === 0, {
        what: 'the link to take a frame',
      });
      expect(await packets(device)).toEqual([]);
    });

    it('hears nothing more once it is closed', async () => {
      expect(await port.call('close')).toBe(true);
    });
  });
}

const sourceOf = ({ head }: Heard): string =>
  head.slice(2 * (VIRTIO + 6), 2 * (VIRTIO + 12)).replaceAll(/..\B/g, '$&:');

/** A port, `to` whose MAC address frames go, and what says them. */
async function link(lab: Lab) {
  const host = lab.namespace('host');
  host.sh(
    'ip link add eth1 type veth peer eth0; for e in eth0 eth1; do echo 1 >/proc/sys/net/ipv6/conf/$e/disable_ipv6; ip link set $e up; done',
  );
  const [port, device] = [new Remote(host, agent), new Remote(host, agent)];
  const to = await port.call<string>('open', 'eth1', 'packet');
  await device.call('openDevice', 'eth0');
  return { port, device, to };
}

describeLab('a frame port by packet sockets', () => {
  it('keeps the frames of each device in order, and none of a quiet one behind those of one that floods', () =>
    inLab('queues', async (lab) => {
      const { port, device, to } = await link(lab);
      const macOf = (n: number): string => `02:00:00:00:00:${n.toString(16).padStart(2, '0')}`;
      const frame = (from: string, id: number): string =>
        frameOf({ to, from }, bare(buildPacket(udp, { id, sequence: 0, flags: 0, payload: payload(20) })));
      const macs = Array.from({ length: 64 }, (_, n) => macOf(n));
      const ids = Array.from({ length: 10 }, (_, id) => id);
      expect(
        await device.call(
          'sayAll',
          ids.flatMap((id) => macs.map((mac) => frame(mac, id))),
        ),
      ).toBe(0);
      const idOf = ({ content }: Heard): number => Number.parseInt(content.slice(8, 12), 16);
      const queues: Heard[][] = [];
      await until(
        async () => {
          for (const [i, more] of (await port.call<Heard[][]>('emptyQueues')).entries())
            (queues[i] ??= []).push(...more);
          return queues.flat().length >= macs.length * ids.length;
        },
        { what: 'all frames' },
      );
      const queueOf = new Map(
        queues.flatMap((frames, queue) => frames.map((heard) => [sourceOf(heard), queue] as const)),
      );
      expect(new Set(queueOf.values()).size).toBeGreaterThan(4);
      for (const mac of macs) {
        // All of them, in one queue, and once.
        expect(queues.flat().filter((heard) => sourceOf(heard) === mac)).toHaveLength(ids.length);
        expect(queues[queueOf.get(mac)!]!.filter((heard) => sourceOf(heard) === mac).map(idOf)).toEqual(ids);
      }
      const [loud] = macs as [string];
      const quiet = macs.find((mac) => queueOf.get(mac) !== queueOf.get(loud))!;
      await port.call('close');
      await port.call('open', 'eth1', 'packet');
      const flood = Array.from({ length: 300 }, (_, id) => frame(loud, id));
      expect(await device.call('sayAll', [...flood, frame(quiet, 7), frame(quiet, 8)])).toBe(0);
      const last = bare(buildPacket(udp, { id: 299, sequence: 0, flags: 0, payload: payload(20) })).subarray(VIRTIO);
      const all = await port.call<Heard[]>('hearUntil', hex(last));
      expect(all).toHaveLength(302);
      expect(all.findIndex((heard) => sourceOf(heard) === quiet)).toBeLessThan(20);
      expect(all.findLastIndex((heard) => sourceOf(heard) === quiet)).toBeLessThan(40);
    }));

  it('gives each device that is known a queue of its own, and moves none for another', () =>
    inLab('own queues', async (lab) => {
      const { port, device, to } = await link(lab);
      const all = Array.from(
        { length: 4_096 },
        (_, n) =>
          `02:00:00:00:${n >> 8 < 16 ? '0' : ''}${(n >> 8).toString(16)}:${(n & 255).toString(16).padStart(2, '0')}`,
      );
      const macs = all.filter(
        (mac) => numberOfSource(Number.parseInt(mac.slice(6).replaceAll(':', ''), 16)) % 16 === 3,
      );
      const [first, second, third, stranger] = macs as [string, string, string, string];
      /** In which queues the frames of each arrive. */
      const queuesOf = async (from: readonly string[]): Promise<number[]> => {
        const content = bare(buildPacket(udp, { id: 1, sequence: 0, flags: 0, payload: payload(20) }));
        expect(
          await device.call(
            'sayAll',
            from.map((mac) => frameOf({ to, from: mac }, content)),
          ),
        ).toBe(0);
        const found = new Map<string, number>();
        await until(
          async () => {
            for (const [queue, frames] of (await port.call<Heard[][]>('emptyQueues')).entries())
              for (const heard of frames) found.set(sourceOf(heard), queue);
            return found.size === from.length;
          },
          { what: 'all frames' },
        );
        return from.map((mac) => found.get(mac)!);
      };
      expect(await queuesOf([first, second, third, stranger])).toEqual([3, 3, 3, 3]);
      await port.call('know', [first, second]);
      const [one, two, ...others] = await queuesOf([first, second, third, stranger]);
      expect([one, ...others]).toEqual([3, 3, 3]);
      expect(two).not.toBe(3);
      await port.call('know', [third, second, first]);
      const now = await queuesOf([first, second, third, stranger]);
      expect(now.slice(0, 2)).toEqual([3, two]);
      expect([3, two]).not.toContain(now[2]);
      expect(now[3]).toBe(3);
      await port.call('know', []);
      expect(await queuesOf([first, second, third])).toEqual([3, 3, 3]);
    }));

  it('outlives a frame of a kind that virtio-net has no name for', () =>
    inLab('frame port', async (lab) => {
      const host = lab.namespace('host');
      host.sh('ip tuntap add dev tap0 mode tap vnet_hdr; ip link set tap0 up');
      const remote = new Remote(host, agent);
      await remote.call('openTap', 'tap0');
      const to = await remote.call<string>('open', 'tap0', 'packet');
      const way = { to, from: '02:00:00:00:00:09' };
      const content = superPacket(udp, payload(1_000), 100, start);
      content[1] = UFO;
      await remote.call('sayAsGuest', frameOf(way, content));
      const packet = buildPacket(udp, { ...start, payload: payload(1_000) });
      await remote.call('sayAsGuest', frameOf(way, bare(packet)));
      expect(await remote.call('hear')).toMatchObject({ content: hex(packet) });
    }));
});
