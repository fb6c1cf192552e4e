import { describe, expect, it } from 'vitest';
import type { SimNode, Socket } from '../../sim/node.ts';
import { Lab, type Tamper } from './lab.ts';

const places = {
  'two public nodes': (lab: Lab): [Socket, Socket] => [lab.publicly(), lab.publicly()],
  'two cones': (lab: Lab): [Socket, Socket] => [
    lab.home('portRestricted')('10.0.0.2'),
    lab.home('fullCone')('10.0.0.2'),
  ],
  'two symmetric NATs': (lab: Lab): [Socket, Socket] => [
    lab.home('symmetric')('10.0.0.2'),
    lab.home('symmetric')('10.0.0.2'),
  ],
};

async function open(sockets: (lab: Lab) => [Socket, Socket]): Promise<{ lab: Lab; a: SimNode; b: SimNode }> {
  const lab = await Lab.open();
  const [ofA, ofB] = sockets(lab);
  return { lab, a: await lab.node('a', ofA), b: await lab.node('b', ofB) };
}

/** How many datagrams it takes until a pair has settled. */
async function datagrams(sockets: (lab: Lab) => [Socket, Socket]): Promise<number> {
  const { lab, a, b } = await open(sockets);
  const before = lab.sent.length;
  expect(lab.reaches(a, b)).toBe(true);
  lab.pass(500);
  return lab.sent.length - before;
}

describe.each(Object.entries(places))('between %s', (_name, sockets) => {
  /** `tamper` sees the datagrams from the first packet on, numbered from 0. */
  async function check(tamper: (number: number) => ReturnType<Tamper>, ms: number): Promise<void> {
    const { lab, a, b } = await open(sockets);
    let number = 0;
    lab.tamper = () => tamper(number++);
    const first = lab.send(a, b);
    // The first packet itself may have been in the lost datagram: then the next one gets through.
    expect(lab.until(() => lab.peer(a, b)?.state === 'up', ms)).toBe(true);
    const arrived = lab.until(() => lab.has(b, first), 1_000);
    const second = lab.send(a, b);
    expect(lab.until(() => lab.has(b, second), ms) || arrived).toBe(true);
    lab.pass(3_000);
    expect(lab.reaches(b, a)).toBe(true);
    expect(lab.reaches(a, b)).toBe(true);
    expect(a.sizes).toMatchObject({ paths: 1, keys: 1 });
    expect(b.sizes).toMatchObject({ paths: 1, keys: 1 });
    expect(lab.arrived.length).toBe(new Set(lab.arrived.map((one) => one.number)).size);
    expect(lab.world.reused).toEqual([]);
  }

  it('any one datagram may be lost', async () => {
    const count = await datagrams(sockets);
    expect(count).toBeGreaterThan(15);
    for (let lost = 0; lost < count; lost++) await check((number) => (number === lost ? 'lose' : 'pass'), 3_000);
  });

  it('any one datagram may come twice, and all of them', async () => {
    const count = await datagrams(sockets);
    for (let twice = 0; twice < count; twice++) await check((number) => (number === twice ? 'double' : 'pass'), 3_000);
    await check(() => 'double', 3_000);
  });

  it('any two in a row may be lost', async () => {
    const count = await datagrams(sockets);
    for (let lost = 0; lost < count; lost += 2) {
      await check((number) => (number === lost || number === lost + 1 ? 'lose' : 'pass'), 4_000);
    }
  });
});
