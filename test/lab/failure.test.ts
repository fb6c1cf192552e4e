/** Connections go on while paths and services fail: a 100-per-second ping and a transfer through the event. */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import { interrupt } from './toolkit/interruption.ts';
import { Network } from './toolkit/network.ts';
import { SlowCable } from './toolkit/slow-cable.ts';
import { smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

/** A deadline of the protocol, with room for a machine that has other things to do. */
const LIMIT_MS = 3_000 + 4_000;
/** Each of these takes its time: a minute without a cloud, or the end of a relay. */
const PATIENCE_MS = 240_000;

describeLab('a connection goes on', () => {
  it(
    'when its direct path is black-holed, through the relay, and directly again',
    () =>
      inLab('black-hole', async (lab) => {
        const { nodes, internet } = await smallNetwork(lab, ['a', 'b']);
        const { a, b } = nodes;
        const { gapMs, sent, received } = await interrupt(a, b, () => {
          internet.namespace.nft(`
            table inet hole {
              chain forward {
                type filter hook forward priority filter;
                ip saddr { 192.0.2.11, 192.0.2.12 } ip daddr { 192.0.2.11, 192.0.2.12 } drop
              }
            }`);
        });
        console.log(`direct path black-holed: ${gapMs} ms`);
        expect(received).toBe(sent);
        expect(gapMs).toBeLessThan(LIMIT_MS);
        expect((await a.peer(b))?.path).toBe('relay');
        internet.namespace.sh('nft delete table inet hole');
        const back = await interrupt(a, b, async () => void (await a.reaches(b, 'direct', 90_000)));
        expect(back.received).toBe(back.sent);
        expect(back.missing).toBe(0);
      }),
    PATIENCE_MS,
  );

  it(
    'when its relay dies and there is another one',
    () =>
      inLab('relay-dies', async (lab) => {
        const internet = lab.internet();
        // Farther from both than the other one.
        const cable = new SlowCable(lab, 'far');
        const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', through: cable });
        await cable.set({ delayMs: 15 });
        const network = await Network.start(lab, cloud);
        await network.addService('trs', 'near', lab.host('near', internet, { v4: '203.0.113.10' }));
        const [a, b] = await Promise.all(
          [20, 21].map(async (number, i) => {
            const lan = lab.lan(`lan-${number}`, { subnet4: `10.${number}.0.0/24` });
            const v4 = `198.51.100.${number}`;
            lab.router(`router-${number}`, { outside: internet, inside: lan, nat: 'symmetric', v4 });
            return network.addNode(lab.host('ab'[i]!, lan));
          }),
        );
        for (const node of [a!, b!]) {
          // Looking at the NAT measures the relays as well.
          const measured = async (): Promise<boolean> => (await node.status()).natType !== null;
          await until(measured, { what: `${node.deviceId} to measure the relays` });
        }
        await a!.systemPing(b!.fqdn);
        const used = (await a!.reaches(b!, 'relay')).endpoint!;
        expect(used).toBe('203.0.113.10:7442');
        const { gapMs, sent, received } = await interrupt(a!, b!, () => {
          const [address, port] = used.split(':');
          internet.namespace.nft(`
            table inet dead {
              chain forward {
                type filter hook forward priority filter;
                udp dport ${port} ip daddr ${address} drop
              }
            }`);
        });
        expect((await a!.peer(b!))?.endpoint).not.toBe(used);
        console.log(`relay dead: ${gapMs} ms`);
        expect(received).toBe(sent);
        expect(gapMs).toBeLessThan(LIMIT_MS);
      }),
    PATIENCE_MS,
  );

  it(
    'without a lost packet when NMS and AS are gone for a minute, and all are known again soon',
    () =>
      inLab('cloud-gone', async (lab) => {
        const { nodes, network } = await smallNetwork(lab, ['a', 'b', 'c']);
        const { a, b, c } = nodes;
        const minute = await interrupt(
          a,
          b,
          async () => {
            network.service.signal('SIGKILL');
            await network.service.exited;
            await new Promise((resolve) => setTimeout(resolve, 60_000));
            await network.restart();
          },
          { mebibytes: 16 },
        );
        console.log(`cloud gone for a minute: longest gap ${minute.gapMs} ms, ${minute.missing} packets lost`);
        expect(minute.missing).toBe(0);
        expect(minute.received).toBe(minute.sent);
        const started = performance.now();
        await until(
          () =>
            c.systemPing(a.fqdn).then(
              () => true,
              () => false,
            ),
          { what: 'c to reach a' },
        );
        console.log(`a new pair ${Math.round(performance.now() - started)} ms after the restart`);
      }),
    PATIENCE_MS,
  );

  it(
    'between nodes that were both killed and started again without any cloud, from what they stored',
    () =>
      inLab('no-cloud', async (lab) => {
        const { nodes, network } = await smallNetwork(lab, ['a', 'b', 'c']);
        const { a, b, c } = nodes;
        await a.systemPing(b.fqdn);
        const file = join(a.state, 'peers');
        await until(() => existsSync(file) && existsSync(join(b.state, 'peers')), { what: 'the peers to be stored' });
        expect(statSync(file).mode & 0o777).toBe(0o600);
        network.service.signal('SIGKILL');
        await network.service.exited;
        for (const node of [a, b, c]) {
          node.daemon.signal('SIGKILL');
          await node.daemon.exited;
        }
        await Promise.all([a.up(), b.up(), c.up()]);
        await a.systemPing(b.fqdn);
        await b.systemPing(a.fqdn);
        expect(await a.peer(b)).toMatchObject({ state: 'up', path: 'direct' });
        // These two never met.
        await expect(c.systemPing(a.fqdn)).rejects.toThrow();
      }),
    PATIENCE_MS,
  );
});
