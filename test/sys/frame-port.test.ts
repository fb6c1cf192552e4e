import { expect, it } from 'vitest';
import { parseMac } from '../../src/lib/mac.ts';
import { until } from '../lab/toolkit/command.ts';
import { describeLab, inLab } from '../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../support/remote.ts';

const agent = modulePath('test/sys/frame-port-agent.ts');
const UFO = 3;

/** A UDP packet of 1,000 octets in a frame, behind a virtio-net header that says how it is to be cut. */
function frame(to: string, segmentation: number): string {
  const octets = Buffer.alloc(10 + 14 + 20 + 8 + 1_000);
  octets[1] = segmentation;
  octets.writeUInt16LE(42, 2);
  octets.writeUInt16LE(segmentation === 0 ? 0 : 100, 4);
  octets.set(parseMac(to), 10);
  octets.set([2, 0, 0, 0, 0, 9], 16);
  octets.writeUInt16BE(0x0800, 22);
  octets.set([0x45, 0, 1_028 >> 8, 1_028 & 255, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2], 24);
  octets.writeUInt16BE(1_008, 48);
  return octets.toString('hex');
}

describeLab('a frame port', () => {
  it('outlives a frame of a kind that virtio-net has no name for', () =>
    inLab('frame port', async (lab) => {
      const host = lab.namespace('host');
      host.sh('ip tuntap add dev tap0 mode tap vnet_hdr; ip link set tap0 up');
      const remote = new Remote(host, agent);
      const mac = await remote.call<string>('open', 'tap0');
      await remote.call('say', frame(mac, UFO));
      await remote.call('say', frame(mac, 0));
      const octets = await until(
        async () => {
          const length = await remote.call<number>('read');
          return length > 0 ? length : undefined;
        },
        { what: 'the frame after it' },
      );
      expect(octets).toBe(1_028);
    }));
});
