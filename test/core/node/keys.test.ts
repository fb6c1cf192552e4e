import { beforeEach, describe, expect, it } from 'vitest';
import { Suite } from '../../../src/proto/constants.ts';
import type { SimNode } from '../../sim/node.ts';
import { Lab } from './lab.ts';

let lab: Lab;
let a: SimNode;
let b: SimNode;

beforeEach(async () => {
  lab = await Lab.open();
  a = await lab.node('a', lab.publicly());
  b = await lab.node('b', lab.publicly());
  expect(lab.reaches(a, b)).toBe(true);
});

const epochs = (): (number | null | undefined)[] => [lab.peer(a, b)?.epoch, lab.peer(b, a)?.epoch];

/** A stream in both directions for some seconds; every packet of it arrives. */
function stream(seconds: number, every = 20, reverse = true): void {
  const sent: [SimNode, number][] = [];
  for (let ms = 0; ms < seconds * 1_000; ms += every) {
    sent.push([b, lab.send(a, b)]);
    if (reverse) sent.push([a, lab.send(b, a)]);
    lab.pass(every);
  }
  lab.pass(200);
  const arrived = new Set(lab.arrived.map(({ node, number }) => `${node.device.deviceId} ${number}`));
  expect(sent.filter(([node, number]) => !arrived.has(`${node.device.deviceId} ${number}`))).toEqual([]);
}

describe('keys in use', () => {
  it('are renewed every two minutes without losing a packet, and the old ones go', () => {
    stream(125);
    expect(epochs()).toEqual([2, 2]);
    stream(12);
    expect(a.sizes!.keys).toBe(1);
    expect(b.sizes!.keys).toBe(1);
    stream(250, 50);
    expect(epochs()).toEqual([4, 4]);
    expect(lab.world.reused).toEqual([]);
  });

  it('are renewed by the end that sends, whichever it is', () => {
    for (let i = 0; i < 150; i++) {
      lab.send(b, a);
      lab.pass(1_000);
    }
    expect(epochs()).toEqual([2, 2]);
  });

  it('are renewed once if both ends begin at once', () => {
    stream(100, 500);
    // Both believe that they began the last handshake: then both begin the next one.
    const requests = () => lab.count(a, 'tunnelRequest') + lab.count(b, 'tunnelRequest');
    const before = requests();
    lab.tamper = ({ type }) => (type === 'tunnelRequest' || type === 'tunnelResponse' ? 'lose' : 'pass');
    stream(45, 200);
    expect(requests()).toBeGreaterThan(before + 4);
    expect(epochs()).toEqual([1, 1]);
    lab.tamper = () => 'pass';
    stream(20, 20);
    expect(lab.peer(a, b)!.epoch).toBe(lab.peer(b, a)!.epoch);
    expect(lab.peer(a, b)!.epoch).toBeGreaterThan(1);
    expect(a.sizes!.paths).toBe(1);
    expect(lab.world.reused).toEqual([]);
  });

  it('leave inner checksums to the receiver, as both ends offer it, also after renewal', () => {
    expect([a.partialChecksums, b.partialChecksums]).toEqual([[true], [true]]);
    stream(140);
    expect(epochs()).toEqual([2, 2]);
    expect([a.partialChecksums, b.partialChecksums]).toEqual([[true], [true]]);
  });

  it("leave nothing to the receiver with the thesis's suite", async () => {
    const [c, d] = [
      await lab.node('c', lab.publicly(), Suite.cbcMd5),
      await lab.node('d', lab.publicly(), Suite.cbcMd5),
    ];
    expect(lab.reaches(c, d)).toBe(true);
    expect([c.partialChecksums, d.partialChecksums]).toEqual([[false], [false]]);
  });

  it('are not used beyond 180 s if they cannot be renewed', () => {
    lab.tamper = ({ type }) => (type === 'tunnelRequest' ? 'lose' : 'pass');
    for (let i = 0; i < 179; i++) {
      lab.send(a, b);
      lab.pass(1_000);
    }
    const capsules = () => lab.count(a, 'capsule') + lab.count(b, 'capsule');
    lab.tamper = ({ type }) => (type === 'tunnelRequest' || type === 'directionRequest' ? 'lose' : 'pass');
    lab.pass(3_000);
    const before = capsules();
    for (let i = 0; i < 20; i++) {
      lab.send(a, b);
      lab.pass(1_000);
    }
    expect(capsules()).toBe(before);
  });

  it('go through all epochs and around', () => {
    for (let i = 0; i < 262; i++) {
      lab.pass(121_500);
      expect(lab.reaches(a, b, 100)).toBe(true);
    }
    lab.pass(2_000);
    const [ours, theirs] = epochs();
    expect(ours).toBe(theirs);
    expect(ours).toBeLessThan(64);
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.world.reused).toEqual([]);
  });
});

describe('a path not in use', () => {
  it('lets its keys go and gets new ones with the next packet', () => {
    lab.pass(200_000);
    expect(lab.peer(a, b)).toMatchObject({ state: 'idle', epoch: null });
    expect(a.sizes).toMatchObject({ paths: 1, keys: 0, routes: 0 });
    const directions = lab.count(a, 'directionRequest');
    expect(lab.reaches(a, b, 500)).toBe(true);
    expect(lab.count(a, 'directionRequest')).toBe(directions);
    expect(epochs()).toEqual([2, 2]);
  });

  it('is woken by both ends at once', () => {
    lab.pass(200_000);
    const [there, back] = [lab.send(a, b), lab.send(b, a)];
    expect(lab.until(() => lab.has(b, there) && lab.has(a, back), 1_000)).toBe(true);
  });

  it('is closed after a quarter of an hour, and the next packet asks for a new one', () => {
    const [path] = a.pathsTo(b);
    lab.pass(16 * 60_000);
    expect(a.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(b.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    expect(lab.peer(a, b)).toMatchObject({ state: 'idle', path: null });
    expect(lab.reaches(a, b)).toBe(true);
    expect(a.pathsTo(b)).not.toContain(path);
  });

  it('is forgotten with its peer after an hour', () => {
    lab.pass(100 * 60_000);
    expect(a.snapshot!.peers).toEqual([]);
    expect(lab.reaches(a, b)).toBe(true);
  });
});
