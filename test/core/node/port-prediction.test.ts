import { describe, expect, it } from 'vitest';
import type { NatType } from '../../../src/core/node/nat-check.ts';
import { familyOf } from '../../../src/lib/ip.ts';
import type { SimNode } from '../../sim/node.ts';
import { Lab } from './lab.ts';

const symmetric: NatType = { mapping: 'address-and-port-dependent', filtering: 'address-and-port-dependent' };
const restricted: NatType = { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent' };
const HOUR_MS = 3_600_000;

/** The strictest two NATs, and an end behind each; `a` begins. */
async function pair(
  seed: number,
  types: readonly [NatType | null, NatType | null] = [symmetric, restricted],
  forbidden = false,
) {
  const lab = await Lab.open(1, seed);
  lab.parts.noPortPrediction = forbidden;
  lab.cloud.nms.kill();
  lab.cloud.nms.start();
  const nats = types.map((type, i) =>
    lab.router((type ?? [symmetric, restricted][i]!) === symmetric ? 'symmetric' : 'portRestricted'),
  );
  const a = await lab.node('a', nats[0]!.socket('192.168.1.2'));
  const b = await lab.node('b', nats[1]!.socket('192.168.2.2'));
  [a.natType, b.natType] = types;
  expect(lab.reaches(a, b)).toBe(true);
  expect(lab.peer(a, b)?.path).toBe('relay');
  return { lab, a, b, nats };
}

function isDirect(lab: Lab, a: SimNode, b: SimNode): boolean {
  return lab.peer(a, b)?.path === 'direct' && lab.peer(b, a)?.path === 'direct';
}

const rounds = (node: SimNode): number => node.counters.snapshot()['port-prediction-rounds'] ?? 0;

describe('port prediction', () => {
  it('brings a symmetric NAT and a port-restricted one together within 25 s, in 18 of 20 tries at least', async () => {
    let direct = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const { lab, a, b } = await pair(seed, seed % 2 === 0 ? [symmetric, restricted] : [restricted, symmetric]);
      if (!lab.until(() => isDirect(lab, a, b), 25_000)) continue;
      direct++;
      expect(lab.reaches(a, b)).toBe(true);
      expect(lab.reaches(b, a)).toBe(true);
    }
    expect(direct).toBeGreaterThanOrEqual(18);
  });

  it('closes what it opened but for the port that was met, and that one with the path', async () => {
    const { lab, a, b } = await pair(2);
    expect(lab.until(() => isDirect(lab, a, b), 25_000)).toBe(true);
    expect([a.host.others?.size, a.kept.size, b.host.others?.size]).toEqual([1, 1, 0]);
    expect(a.counters.snapshot()).toMatchObject({ 'port-prediction-succeeded': 1 });
    b.stop();
    expect(lab.until(() => a.kept.size === 0 && a.host.others?.size === 0, 60_000)).toBe(true);
  });

  it('goes back to the relay when the NAT forgets the port, and looks for another', async () => {
    const { lab, a, b, nats } = await pair(2);
    expect(lab.until(() => isDirect(lab, a, b), 25_000)).toBe(true);
    const before = rounds(a);
    nats[0]!.nat.reboot();
    expect(
      lab.until(() => {
        if (lab.clock.ms % 1_000 < 1) lab.send(a, b);
        return rounds(a) > before && isDirect(lab, a, b);
      }, 60_000),
    ).toBe(true);
  });

  it('sends a hundred small datagrams a second, to one address, for two rounds, and then nothing for an hour', async () => {
    const { lab, a, b, nats } = await pair(3);
    const [opening, probing] = [a, b].map((node) => node.host);
    const there = nats[0]!.nat.outside;
    // Whatever is sent between the two is lost.
    lab.tamper = ({ host, to }) =>
      (host === opening || host === probing) && nats.some(({ nat }) => nat.outside === to.address) ? 'lose' : 'pass';
    const seen = lab.sent.length;
    const from = lab.clock.ms;
    lab.pass(40_000);
    const probes = lab.sent.slice(seen).filter(({ host, to }) => host === probing && to.address === there);
    expect(probes.length).toBeGreaterThanOrEqual(2 * 1_024);
    expect(probes.length).toBeLessThan(2 * 1_024 + 100);
    expect(probes.every(({ datagram }) => datagram.length < 150)).toBe(true);
    expect(new Set(probes.map(({ to }) => to.port)).size).toBeGreaterThan(1_900);
    expect(lab.clock.ms - from).toBe(40_000);
    for (const node of [a, b]) {
      expect(rounds(node)).toBe(2);
      expect(node.counters.snapshot()['port-prediction-failed']).toBe(1);
    }
    expect(a.host.others?.size).toBe(0);
    for (let minutes = 0; minutes < 58; minutes++) {
      lab.send(a, b);
      lab.pass(60_000);
    }
    expect([rounds(a), rounds(b)]).toEqual([2, 2]);
    lab.tamper = () => 'pass';
    expect(
      lab.until(() => {
        if (lab.clock.ms % 5_000 < 1) lab.send(a, b);
        return isDirect(lab, a, b);
      }, HOUR_MS / 6),
    ).toBe(true);
  });

  it('is begun once an hour, however many paths the peer opens and leaves meanwhile', async () => {
    const { lab, a, b, nats } = await pair(3);
    // Whatever is sent between the two is lost.
    lab.tamper = ({ host, to }) =>
      [a.host, b.host].includes(host) && nats.some(({ nat }) => nat.outside === to.address) ? 'lose' : 'pass';
    for (let life = 0; life < 10; life++) {
      lab.pass(15_000);
      a.kill();
      a.start();
      lab.pass(2_000);
      expect(lab.reaches(a, b)).toBe(true);
    }
    expect(rounds(b)).toBeGreaterThan(0);
    expect(rounds(b)).toBeLessThanOrEqual(2);
  });

  it.each([
    ['one end does not know its NAT, or is told not to', [symmetric, null]],
    ['the other end', [null, restricted]],
    ['both NATs are symmetric', [symmetric, symmetric]],
  ] as const)('sends nothing where %s', async (_, types) => {
    const { lab, a, b } = await pair(4, types);
    lab.pass(30_000);
    expect([rounds(a), rounds(b)]).toEqual([0, 0]);
    expect([a.host.others?.size, b.host.others?.size]).toEqual([0, 0]);
  });

  it('sends nothing in a network that does not want it', async () => {
    const { lab, a, b } = await pair(4, [symmetric, restricted], true);
    lab.pass(30_000);
    expect([rounds(a), rounds(b)]).toEqual([0, 0]);
  });

  it('is not begun by whoever repeats what the peer once said', async () => {
    const { lab, a, b } = await pair(5, [null, restricted]);
    a.natType = symmetric;
    const recorded: { readonly at: number }[] = [];
    lab.tamper = ({ type }) => {
      if (type === 'keepAlive') recorded.push({ at: lab.clock.ms });
      return type === 'keepAlive' ? 'double' : 'pass';
    };
    expect(lab.until(() => isDirect(lab, a, b), 60_000)).toBe(true);
    expect(recorded.length).toBeGreaterThan(0);
    expect(rounds(b)).toBe(rounds(a));
    expect(familyOf(lab.peer(a, b)!.endpoint!.split(':')[0]!)).toBe(4);
  });
});
