import { describe, expect, it } from 'vitest';
import { Port } from '../../../src/proto/constants.ts';
import type { Socket } from '../../sim/node.ts';
import { Lab } from './lab.ts';
import { outage, pair, publicly, symmetric } from './pairs.ts';

describe('a node that moves', () => {
  it('keeps its path: to another public address', async () => {
    const { lab, a, b } = await pair(publicly);
    const paths = a.pathsTo(b);
    a.move(lab.publicly());
    expect(outage(lab, a, b)).toBeLessThan(500);
    lab.pass(1_000);
    expect(lab.peer(b, a)).toMatchObject({ state: 'up', path: 'direct', endpoint: '198.51.100.3:7444' });
    expect(a.pathsTo(b)).toEqual(paths);
  });

  it('keeps its path: behind a NAT, and out again', async () => {
    const { lab, a, b } = await pair(publicly);
    a.move(lab.home('portRestricted')('10.0.0.2'));
    expect(outage(lab, a, b)).toBeLessThan(500);
    a.move(lab.publicly());
    expect(outage(lab, a, b)).toBeLessThan(500);
  });

  it('keeps its relayed path', async () => {
    const { lab, a, b } = await pair(symmetric);
    expect(lab.peer(a, b)!.path).toBe('relay');
    a.move(lab.home('symmetric')('10.0.0.2'));
    expect(outage(lab, a, b)).toBeLessThan(1_000);
  });

  it('goes to the relay when the new place allows nothing else', async () => {
    const { lab, a, b } = await pair((l) => [l.publicly(), l.home('symmetric')('10.0.0.2')]);
    a.move(lab.home('symmetric')('10.0.0.2'));
    expect(outage(lab, a, b)).toBeLessThan(1_500);
    lab.pass(3_000);
    expect(lab.peer(a, b)!.path).toBe('relay');
  });

  it('may change the family', async () => {
    const { lab, a, b } = await pair((l) => [l.publicly('4'), l.publicly('46')]);
    a.move(lab.publicly('6'));
    expect(outage(lab, a, b)).toBeLessThan(1_000);
    lab.pass(3_000);
    expect(lab.peer(a, b)).toMatchObject({ state: 'up', path: 'direct' });
  });

  it('finds the other one although both move at once', async () => {
    const { lab, a, b } = await pair(publicly);
    a.move(lab.publicly());
    b.move(lab.publicly());
    expect(outage(lab, a, b)).toBeLessThan(1_000);
  });

  it('finds the other one although both move at once to other NATs, and goes direct again', async () => {
    const home = (net: Lab): Socket => net.home('portRestricted')('10.0.0.2');
    const { lab, a, b } = await pair((net) => [home(net), home(net)]);
    lab.pass(3_000);
    a.move(home(lab));
    b.move(home(lab));
    expect(outage(lab, a, b)).toBeLessThan(2_000);
    lab.pass(3_000);
    expect(lab.peer(a, b)).toMatchObject({ state: 'up', path: 'direct' });
  });

  it.each([3, 6, 9])('is looked for where it says it is at last, after %i moves', async (moves) => {
    const { lab, a, b } = await pair(publicly);
    // The peer has nothing but its word, by the relay.
    lab.tamper = ({ host, to }) => (host === a.host && to.address === b.host.address4 ? 'lose' : 'pass');
    for (let i = 0; i < 60; i++) {
      if (i >= 20 && i < 20 + 2 * moves && i % 2 === 0) a.move(lab.publicly());
      lab.send(a, b);
      lab.send(b, a);
      lab.pass(50);
    }
    const last = { address: a.host.address4!, port: Port.node };
    expect(lab.count(b, 'holePunching', last)).toBeGreaterThan(0);
  });

  it('is looked for at its own port as well, which its NAT may have kept for the peer alone', async () => {
    const lab = await Lab.open();
    const { nat, socket } = lab.router('portRestricted');
    await lab.node('neighbour', socket('10.0.0.2'));
    const a = await lab.node('a', socket('10.0.0.3'));
    const b = await lab.node('b', lab.home('portRestricted')('10.0.0.2'));
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(3_000);
    expect(lab.peer(b, a)!.endpoint).not.toBe(`${nat.outside}:${Port.node}`);
    const kept = { address: nat.outside, port: Port.node };
    expect(lab.count(b, 'holePunching', kept)).toBe(0);
    a.move(socket('10.0.0.4'));
    expect(outage(lab, a, b)).toBeLessThan(1_000);
    expect(lab.count(b, 'holePunching', kept)).toBeGreaterThan(0);
  });

  it('may go to another family and back', async () => {
    const { lab, a, b } = await pair((l) => [l.publicly('4'), l.publicly('46')]);
    for (const family of ['6', '4', '6'] as const) {
      a.move(lab.publicly(family));
      expect(outage(lab, a, b)).toBeLessThan(1_000);
      lab.pass(2_000);
      expect(lab.peer(a, b)).toMatchObject({ state: 'up', path: 'direct' });
    }
  });

  it('goes to a family that the peer does not have: through the relay', async () => {
    const { lab, a, b } = await pair((l) => [l.publicly('4'), l.publicly('4')]);
    a.move(lab.publicly('6'));
    expect(outage(lab, a, b)).toBeLessThan(2_000);
    expect(lab.peer(a, b)!.path).toBe('relay');
  });
});
