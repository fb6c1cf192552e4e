/** Pairs that talked before open again without the cloud, from what each end stored of the other. */

import { describe, expect, it } from 'vitest';
import { Port } from '../../../src/proto/constants.ts';
import { SimNode, type Socket } from '../../sim/node.ts';
import { Lab } from './lab.ts';

const DAY = 86_400_000;
/** Until what is to be stored was stored (ms). */
const STORED_MS = 20_000;

async function pair(sockets: (lab: Lab) => [Socket, Socket] = (lab) => [lab.publicly(), lab.publicly()]) {
  const lab = await Lab.open();
  const [ofA, ofB] = sockets(lab);
  const net = { lab, a: await lab.node('a', ofA), b: await lab.node('b', ofB) };
  expect(lab.reaches(net.a, net.b)).toBe(true);
  lab.pass(STORED_MS);
  return net;
}

function cloudGone(lab: Lab): void {
  for (const service of [lab.cloud.nms, ...lab.cloud.relays]) service.kill();
}

function restart(...nodes: SimNode[]): void {
  for (const node of nodes) node.kill();
  for (const node of nodes) node.start();
}

/** Whether packets get there after some tries. */
function reachesSoon(lab: Lab, from: SimNode, to: SimNode): boolean {
  for (let i = 0; i < 120; i++) if (lab.reaches(from, to, 500)) return true;
  return false;
}

const homes = (lab: Lab): [Socket, Socket] => [
  lab.home('portRestricted')('10.0.0.2'),
  lab.home('portRestricted')('10.0.0.3'),
];

describe('without a cloud', () => {
  it('a pair opens again after a restart of both ends, and goes on in both directions', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart(a, b);
    expect(lab.reaches(a, b, 2_500)).toBe(true);
    expect(lab.reaches(b, a, 500)).toBe(true);
    expect(lab.peer(a, b)).toMatchObject({ state: 'up', path: 'direct' });
    expect(a.counters.snapshot()['paths-reopened']).toBe(1);
  });

  it('by name as well, and without delay once the NMS is known to be gone', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    lab.pass(180_000);
    a.stop();
    a.start();
    let found: unknown = null;
    a.resolve(b.device.fqdn, (result) => {
      found = result;
    });
    expect(lab.until(() => found !== null, 1_500)).toBe(true);
    expect(found).toMatchObject({ status: 'found', nodeId: b.device.nodeId, vip4: b.device.vip4 });
    expect(lab.reaches(a, b, 500)).toBe(true);
  });

  it('by name, asked for a moment before the node knocks at that peer by itself', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart(a, b);
    lab.pass(2_500);
    let found: unknown = null;
    a.resolve(b.device.fqdn, (result) => {
      found = result;
    });
    expect(lab.until(() => found !== null, 1_500)).toBe(true);
    expect(found).toMatchObject({ status: 'found', nodeId: b.device.nodeId });
  });

  it.each(['a', 'b'] as const)('after a restart of %s alone, whose peer still has the old keys', async (which) => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart({ a, b }[which]);
    const [here, there] = which === 'a' ? [a, b] : [b, a];
    expect(lab.reaches(here, there, 2_500)).toBe(true);
    expect(lab.reaches(there, here, 500)).toBe(true);
  });

  it.each(['a', 'b'] as const)(
    'after a restart of %s alone, when the other end speaks first, by the old keys',
    async (which) => {
      const { lab, a, b } = await pair();
      cloudGone(lab);
      restart({ a, b }[which]);
      const [here, there] = which === 'a' ? [a, b] : [b, a];
      lab.reaches(there, here, 500);
      expect(lab.until(() => lab.reaches(there, here, 100), 4_000)).toBe(true);
      expect(lab.reaches(here, there, 500)).toBe(true);
    },
  );

  it.each([
    ['on public addresses', undefined],
    ['behind two NATs', homes],
  ])(
    '%s, however far a peer that goes on sending has got in looking for the one that was restarted',
    async (_, where) => {
      for (let away = 0; away <= 12_000; away += 400) {
        const { lab, a, b } = await pair(where);
        cloudGone(lab);
        a.kill();
        for (let ms = 0; ms < away; ms += 200) lab.reaches(b, a, 200);
        a.start();
        const reached = (from: SimNode, to: SimNode): boolean => lab.until(() => lab.reaches(from, to, 100), 8_000);
        expect([away, reached(b, a), reached(a, b)]).toEqual([away, true, true]);
      }
    },
  );

  it('when the path was closed because nobody used it', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    lab.pass(20 * 60_000);
    expect(a.pathsTo(b)).toEqual([]);
    expect(lab.reaches(a, b, 500)).toBe(true);
  });

  it('behind two NATs, as both ends knock', async () => {
    const { lab, a, b } = await pair(homes);
    cloudGone(lab);
    restart(a, b);
    expect(reachesSoon(lab, a, b)).toBe(true);
  });

  it('through the relay, if that one still knows the path', async () => {
    const { lab, a, b } = await pair((l) => [l.home('symmetric')('10.0.0.2'), l.home('symmetric')('10.0.0.3')]);
    lab.cloud.nms.kill();
    restart(a, b);
    expect(reachesSoon(lab, a, b)).toBe(true);
    expect(lab.peer(a, b)!.path).toBe('relay');
  });

  it('with a certificate that the peer has renewed since', async () => {
    const { lab, a, b } = await pair();
    const known = b.session!.certificate;
    b.renew();
    lab.pass(STORED_MS);
    expect(b.session!.certificate).not.toEqual(known);
    cloudGone(lab);
    restart(a, b);
    expect(lab.reaches(a, b, 2_500)).toBe(true);
  });

  it('rekeys for hours', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart(a, b);
    expect(lab.reaches(a, b, 2_500)).toBe(true);
    for (let minute = 0; minute < 60; minute++) {
      lab.pass(60_000);
      expect(lab.reaches(a, b, 500), `after ${minute} minutes`).toBe(true);
    }
    expect(lab.world.reused).toEqual([]);
  });
});

describe('what was stored does not count', () => {
  const refused = async (spoil: (net: Awaited<ReturnType<typeof pair>>) => void) => {
    const net = await pair();
    const { lab, a, b } = net;
    cloudGone(lab);
    for (const node of [a, b]) node.kill();
    spoil(net);
    for (const node of [a, b]) node.start();
    expect(lab.reaches(a, b, 60_000)).toBe(false);
    expect(b.counters.snapshot()['paths-reopened']).toBeUndefined();
    return net;
  };
  const ignored = (lab: Lab): string[] => lab.notes.filter((note) => /stored peers are ignored/.test(note));

  it('once certificates or keys have expired', async () => {
    const { lab } = await refused(({ a, b }) => {
      a.setWallError(8 * DAY);
      b.setWallError(8 * DAY);
    });
    expect(ignored(lab)).toEqual([]);
  });

  it('if a single octet was changed', async () => {
    const { lab } = await refused(({ a, b }) => {
      for (const node of [a, b]) {
        node.stored = Uint8Array.from(node.stored!);
        node.stored[node.stored.length - 40]! ^= 1;
      }
    });
    expect(ignored(lab).map((note) => note.split(' ')[1])).toEqual(['a:', 'b:']);
  });

  it('if it is another device’s', async () => {
    const { lab } = await refused(({ a, b }) => {
      [a.stored, b.stored] = [b.stored, a.stored];
    });
    expect(ignored(lab)).toHaveLength(2);
  });

  it('if it is from before the last login', async () => {
    const { lab, a } = await pair();
    const before = a.stored!;
    a.renew();
    lab.pass(STORED_MS);
    cloudGone(lab);
    a.kill();
    a.stored = before;
    a.start();
    expect(ignored(lab)).toHaveLength(1);
  });

  it('of a peer that was revoked, nor when an older file is put back', async () => {
    const { lab, a, b } = await pair();
    const before = a.stored!;
    await lab.cloud.register.setEnabled('b', false);
    lab.pass(STORED_MS);
    expect(a.stored).not.toEqual(before);
    cloudGone(lab);
    restart(a);
    expect(lab.reaches(a, b, 10_000)).toBe(false);
    expect(a.counters.snapshot()['paths-reopened']).toBeUndefined();
  });

  it('of a peer that was revoked while nobody could be told: the NMS is asked as soon as it is back', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart(a, b);
    expect(lab.reaches(a, b, 2_500)).toBe(true);
    await lab.cloud.register.setEnabled('b', false);
    lab.cloud.nms.start();
    expect(lab.until(() => a.snapshot!.state === 'online', 60_000)).toBe(true);
    lab.pass(10_000);
    expect(a.pathsTo(b)).toEqual([]);
    lab.cloud.nms.kill();
    lab.pass(STORED_MS);
    restart(a);
    expect(lab.reaches(a, b, 10_000)).toBe(false);
  });

  it('to a node that is online and knocked at by a revoked one', async () => {
    const { lab, a, b } = await pair();
    a.kill();
    await lab.cloud.register.setEnabled('b', false);
    lab.pass(120_000);
    b.kill();
    // It keeps to itself that it was refused.
    lab.tamper = ({ host, to }) => (host === b.host && to.port === 7441 ? 'lose' : 'pass');
    a.start();
    lab.pass(2_000);
    b.start();
    lab.reaches(b, a, 3_000);
    lab.pass(1_000);
    expect(a.pathsTo(b)).toEqual([]);
    expect(lab.reaches(b, a, 10_000)).toBe(false);
  });

  /** The device has new keys, was seen with them, and is gone again; `b` has its old state. */
  async function reenrolled({ lab, b }: Awaited<ReturnType<typeof pair>>): Promise<void> {
    b.kill();
    await lab.cloud.register.renewSecret('b', { hash: 'any', expires: lab.clock.wall + DAY });
    const anew = new SimNode(lab.parts, lab.cloud, b.device, lab.publicly(), () => {}, undefined, 'b anew');
    anew.start();
    expect(lab.until(() => anew.snapshot?.state === 'online', 5_000)).toBe(true);
    lab.pass(5_000);
    anew.stop();
    lab.pass(1_000);
  }

  it('of a peer whose keys were replaced, whose old state opens nothing', async () => {
    const net = await pair();
    const { lab, a, b } = net;
    await reenrolled(net);
    expect(a.pathsTo(b)).toEqual([]);
    b.start();
    expect(lab.reaches(b, a, 30_000)).toBe(false);
    expect(a.pathsTo(b)).toEqual([]);
    restart(a);
    expect(lab.reaches(b, a, 30_000)).toBe(false);
    expect(a.counters.snapshot()['paths-reopened']).toBeUndefined();
  });

  it('of such a peer, although nobody could be told: the NMS shows its certificate', async () => {
    const net = await pair();
    const { lab, a, b } = net;
    a.kill();
    await reenrolled(net);
    lab.cloud.nms.kill();
    lab.cloud.nms.start();
    a.start();
    lab.pass(2_000);
    b.start();
    // The old state is let in, as nobody knows better, until the NMS is asked.
    lab.reaches(b, a, 3_000);
    expect(a.counters.snapshot()['paths-reopened']).toBe(1);
    lab.pass(1_000);
    expect(a.pathsTo(b)).toEqual([]);
    expect(lab.reaches(b, a, 30_000)).toBe(false);
    expect(a.counters.snapshot()['paths-reopened']).toBe(1);
  });

  it('to datagrams without the key, repeated ones of an earlier life, and floods of them', async () => {
    const { lab, a, b } = await pair();
    const [pathId] = a.pathsTo(b);
    const recorded = lab.sent.filter(({ host, type }) => host === a.host && type !== 'capsule');
    a.kill();
    restart(b);
    lab.pass(2_000);
    const sent = lab.sent.length;
    for (const { datagram } of recorded) {
      lab.network.send(a.host, { address: b.host.address4!, port: b.host.port }, datagram);
      const altered = Uint8Array.from(datagram);
      altered[altered.length - 1]! ^= 1;
      lab.network.send(a.host, { address: b.host.address4!, port: b.host.port }, altered);
    }
    lab.pass(2_000);
    const answers = lab.sent.slice(sent).filter(({ host, to }) => host === b.host && to.address === a.host.address4);
    expect(pathId).toBeDefined();
    expect(b.pathsTo(a)).toEqual([]);
    expect(answers.length).toBeLessThanOrEqual(recorded.length);
  });
});

describe('when the cloud is back', () => {
  it('a path that an earlier life of the peer began keeps nobody from one that the NMS makes', async () => {
    const { lab, a, b } = await pair();
    b.stop();
    expect(lab.until(() => a.pathsTo(b).length === 0, 1_000)).toBe(true);
    // That life reaches no NMS, knocks at the peer, and is gone before there are keys.
    lab.tamper = ({ host, to, type }) =>
      (host === b.host && to.port === Port.nms) || type === 'tunnelResponse' ? 'lose' : 'pass';
    b.start();
    expect(lab.until(() => a.pathsTo(b).length > 0, 10_000)).toBe(true);
    lab.pass(3_000);
    b.kill();
    lab.tamper = () => 'pass';
    b.stored = null;
    b.start();
    expect(lab.until(() => b.snapshot!.state === 'online', 5_000)).toBe(true);
    expect(lab.until(() => lab.reaches(a, b, 100), 3_000)).toBe(true);
  });

  it('a path from the cache gives way to one that the NMS made, without a lost packet', async () => {
    const { lab, a, b } = await pair();
    cloudGone(lab);
    restart(a, b);
    expect(lab.reaches(a, b, 2_500)).toBe(true);
    const [stored] = a.pathsTo(b);
    lab.cloud.nms.start();
    lab.cloud.relays[0]!.start();
    for (let i = 0; i < 200; i++) expect(lab.reaches(a, b, 300), `packet ${i}`).toBe(true);
    lab.pass(60_000);
    expect(a.snapshot!.state).toBe('online');
    expect(a.pathsTo(b)).not.toContain(stored);
    expect(lab.reaches(b, a, 300)).toBe(true);
  });
});
