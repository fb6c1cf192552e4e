import { expect, it } from 'vitest';
import type { Host, Lab } from './toolkit/lab.ts';
import { SlowCable } from './toolkit/slow-cable.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

async function twoHosts(lab: Lab): Promise<{ cable: SlowCable; here: Host; there: Host }> {
  const lan = lab.lan('lan', { subnet4: '10.20.0.0/24', subnet6: '2001:db8:20::/64' });
  const cable = new SlowCable(lab, 'box');
  const here = lab.host('here', lan, { through: cable });
  const there = lab.host('there', lan);
  await cable.set({});
  // Neighbours get to know each other before anything is lost.
  await here.run(['ping', '-c', '1', '10.20.0.3']);
  await here.run(['ping', '-c', '1', '2001:db8:20::3']);
  return { cable, here, there };
}

/** Loss in percent and the shortest round trip of many pings. */
async function ping(from: Host, to: string, count: number, waitS = 5): Promise<{ received: number; minMs: number }> {
  const words = ['ping', '-q', '-i', '0.01', '-W', String(waitS), '-c', String(count), to];
  const program = from.spawn(words, { input: '' });
  await program.exited;
  return {
    received: Number(/(\d+) received/.exec(program.stdout)?.[1]),
    minMs: Number(/= ([\d.]+)\//.exec(program.stdout)?.[1]),
  };
}

describeLab('a slow cable', () => {
  it('delays both directions and loses the share it is told to, of both families', () =>
    inLab('slow-cable', async (lab) => {
      const { cable, here } = await twoHosts(lab);
      await cable.set({ delayMs: 15 });
      const slow = await ping(here, '10.20.0.3', 10);
      expect(slow).toMatchObject({ received: 10 });
      expect(slow.minMs).toBeGreaterThanOrEqual(30);
      await cable.set({ delayMs: 0, lossPercent: 20 });
      // Each way loses a fifth: 64 % come back.
      const lossy = await ping(here, '2001:db8:20::3', 300, 1);
      expect(lossy.received).toBeGreaterThan(120);
      expect(lossy.received).toBeLessThan(260);
      await cable.set({ lossPercent: 0 });
      expect(await ping(here, '10.20.0.3', 20)).toMatchObject({ received: 20 });
    }));

  it('lets large offloaded frames pass whole, and limits the rate', () =>
    inLab('narrow-cable', async (lab) => {
      const { cable, here, there } = await twoHosts(lab);
      /** As the receiver sees it: the sender's clock stops when the rest is in its socket. */
      const transfer = async (
        megabytes: number,
      ): Promise<{ readonly bytes: number; readonly bits_per_second: number }> => {
        const server = there.spawn(['iperf3', '-s', '-1', '--forceflush']);
        await server.output(/listening/);
        const said = await here.run(['iperf3', '-J', '-c', '10.20.0.3', '-n', `${megabytes}M`]);
        return JSON.parse(said).end.sum_received;
      };
      expect((await transfer(8)).bytes).toBeGreaterThan(4e6);
      await cable.set({ rateMbit: 20 });
      const limited = await transfer(2);
      expect(limited.bytes).toBeGreaterThan(1e6);
      // Gigabits without the limit; a receiver that wakes up late takes some of the time off.
      expect(limited.bits_per_second).toBeLessThan(30e6);
    }));
});
