/** Connections go on while networks change: a 100-per-second ping and transfers through the events, a few of `npm run mobility`. */

import { expect, it } from 'vitest';
import { Watch } from './toolkit/interruption.ts';
import { atHome, type Cause, inPublic, inTwoFamilies, type Scene, withTwoInterfaces } from './toolkit/scenes.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

/** A deadline of the protocol, with room for a machine that has other things to do. */
const SLACK_MS = 4_000;

type Happening = {
  readonly what: string;
  readonly cause: Cause;
  /** The longest gap, beyond the event's own time if nothing can get through in it. */
  readonly limitMs: number;
  readonly outage?: boolean;
};

/** One event after the other; none may last longer than it should, and all that is sent has to come down. */
async function expectGaps({ pairs, path }: Scene<string>, happenings: readonly Happening[]): Promise<void> {
  const [a, b] = pairs[0]!;
  const watch = await Watch.start(a, b, { again: true });
  for (const { what, cause, limitMs, outage = false } of happenings) {
    await a.reaches(b, path);
    const { gapMs, tookMs } = await watch.through(() => cause(0));
    const longest = outage ? gapMs - tookMs : gapMs;
    console.log(`${what}: ${longest} ms`);
    expect(longest, what).toBeLessThan(limitMs + SLACK_MS);
  }
  for (const { sent, received } of await watch.end()) expect(received).toBe(sent);
  await a.reaches(b, path);
}

describeLab('a connection goes on', () => {
  it(
    'when a device gets another address, behind a NAT; when both do at once; when the NAT forgets',
    () =>
      inLab('renumber', async (lab) => {
        const scene = await atHome(lab);
        const { moves, peerMoves, bothMove, natForgets } = scene.causes;
        await expectGaps(scene, [
          { what: 'another address', cause: moves, limitMs: 1_000 },
          { what: 'another address of the peer', cause: peerMoves, limitMs: 1_000 },
          { what: 'both at once', cause: bothMove, limitMs: 3_000 },
          { what: 'NAT forgets', cause: natForgets, limitMs: 3_000 },
        ]);
      }),
    180_000,
  );

  it(
    'when a device changes to another network and loses the first; when its interface is gone for a while',
    () =>
      inLab('interfaces', async (lab) => {
        const scene = await withTwoInterfaces(lab, { awayMs: 15_000 });
        const { otherInterface, interfaceGone } = scene.causes;
        await expectGaps(scene, [
          { what: 'another interface', cause: otherInterface, limitMs: 1_000 },
          { what: 'and back', cause: otherInterface, limitMs: 1_000 },
          { what: 'interface gone for 15 s', cause: interfaceGone, limitMs: 3_000, outage: true },
        ]);
      }),
    180_000,
  );

  it(
    'when a device changes from IPv4 to IPv6 and back',
    () =>
      inLab('families', async (lab) => {
        const scene = await inTwoFamilies(lab);
        const { otherFamily } = scene.causes;
        await expectGaps(scene, [
          { what: 'IPv4 to IPv6', cause: otherFamily, limitMs: 1_000 },
          { what: 'IPv6 to IPv4', cause: otherFamily, limitMs: 1_000 },
        ]);
      }),
    180_000,
  );

  it(
    'when a device is suspended for 20 s',
    () =>
      inLab('suspend', async (lab) => {
        const scene = await inPublic(lab, { awayMs: 20_000 });
        const { suspended } = scene.causes;
        await expectGaps(scene, [{ what: 'suspended for 20 s', cause: suspended, limitMs: 3_000, outage: true }]);
      }),
    180_000,
  );

  it(
    'without a lost packet while its keys change again and again',
    () =>
      inLab('keys', async (lab) => {
        const { pairs, causes } = await inPublic(lab, {}, ['--rekey-after', '2']);
        const watch = await Watch.start(...pairs[0]!, { again: true });
        const changes = [];
        for (let i = 0; i < 4; i++) changes.push(await watch.through(() => causes.newKeys(i), 0));
        for (const { sent, received } of await watch.end()) expect(received).toBe(sent);
        expect(changes.map(({ missing }) => missing())).toEqual([0, 0, 0, 0]);
      }),
    180_000,
  );
});
