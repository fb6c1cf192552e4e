/** A share of the grid that `npm run matrix` measures: every cell connects, and directly where that is possible. */

import { expect, it } from 'vitest';
import { type Cell, expectsDirect, Matrix, meet, type Place, predicts } from './toolkit/matrix.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

/** In each round every place appears once, so that its pairs can meet at the same time. */
const rounds: readonly (readonly (readonly [Place, Place])[])[] = [
  [
    ['none', 'firewall'],
    ['full-cone', 'address-restricted'],
    ['port-restricted', 'cgnat'],
    ['symmetric', 'dual'],
  ],
  [
    ['none', 'symmetric'],
    ['full-cone', 'port-restricted'],
    ['cgnat', 'ipv6'],
    ['firewall', 'address-restricted'],
  ],
  [
    ['symmetric', 'full-cone'],
    ['port-restricted', 'none'],
    ['ipv6', 'dual'],
    ['cgnat', 'firewall'],
  ],
  [
    ['port-restricted', 'symmetric'],
    ['symmetric', 'port-mapping'],
    ['address-restricted', 'cgnat'],
    ['none', 'ipv6'],
    ['black-hole', 'dual'],
  ],
];

/** What comes to be direct has its time. */
const PATIENCE_MS = 40_000;
/** Two rounds of prediction miss in 0.03 % (docs/protocol.md): that so many lives of a node have no luck is no chance. */
const LIVES = 3;

describeLab('devices in different places', () => {
  it(
    'all talk, directly where the NATs in between allow it',
    () =>
      inLab('matrix', async (lab) => {
        const matrix = await Matrix.open(lab);
        const titles = [...new Set(rounds.flat(2))];
        const nodes = new Map(
          await Promise.all(titles.map(async (place) => [place, await matrix.node(place)] as const)),
        );
        const connect = async (from: Place, to: Place): Promise<Cell> => {
          const [a, b] = [nodes.get(from)!, nodes.get(to)!];
          const places = { from, to };
          if (!predicts(places)) return meet(a, b, places, expectsDirect(from, to) ? PATIENCE_MS : undefined);
          for (let life = 1; ; life++) {
            const cell = await meet(a, b, places);
            if (cell.path === 'direct' || life === LIVES) return cell;
            await a.daemon.stop();
            await a.up();
          }
        };
        for (const round of rounds) {
          const cells = await Promise.all(round.map(([from, to]) => connect(from, to)));
          for (const { from, to, path } of cells) {
            const direct = expectsDirect(from, to);
            if (direct !== null) expect(path, `${from} to ${to}`).toBe(direct ? 'direct' : 'relay');
          }
        }
        const [one, other] = await matrix.neighbours('the same, with hairpin');
        expect((await meet(one, other, {}, PATIENCE_MS)).path).toBe('direct');
        const { stdout } = await nodes.get('port-mapping')!.command(['netcheck', '--json']);
        expect(JSON.parse(stdout).portMapping).toBe('pcp');
        expect((await nodes.get('port-mapping')!.status()).counters).toMatchObject({ 'port-mapped-pcp': 1 });
      }),
    300_000,
  );
});
