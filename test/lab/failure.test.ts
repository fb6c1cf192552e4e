/** Connections go on while paths and services fail: a 100-per-second ping and a transfer through the event. */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import { interrupt } from './toolkit/interruption.ts';
import { inPublic, relayed } from './toolkit/scenes.ts';
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
        const { pairs, causes } = await inPublic(lab);
        const [a, b] = pairs[0]!;
        const { gapMs, sent, received } = await interrupt(a, b, () => causes.blackHole(0));
        console.log(`direct path black-holed: ${gapMs} ms`);
        expect(received).toBe(sent);
        expect(gapMs).toBeLessThan(LIMIT_MS);
        expect((await a.peer(b))?.path).toBe('relay');
        await causes.blackHoleEnds(0);
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
        const { pairs, causes } = await relayed(lab);
        const [a, b] = pairs[0]!;
        await a.systemPing(b.fqdn);
        const used = (await a.reaches(b, 'relay')).endpoint!;
        const { gapMs, sent, received } = await interrupt(a, b, () => causes.relayVanishes(0));
        expect((await a.peer(b))?.endpoint).not.toBe(used);
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
        const { pairs, network, internet, causes } = await inPublic(lab);
        const [a, b] = pairs[0]!;
        const c = await network.addNode(lab.host('c', internet, { v4: '192.0.2.66' }));
        const minute = await interrupt(a, b, () => causes.cloudGone(0), { mebibytes: 16 });
        console.log(`cloud gone for a minute: longest gap ${minute.gapMs} ms, ${minute.missing} packets lost`);
        expect(minute.missing).toBe(0);
        expect(minute.received).toBe(minute.sent);
        const started = performance.now();
        await until(() => succeeds(c.systemPing(a.fqdn)), { what: 'c to reach a' });
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
