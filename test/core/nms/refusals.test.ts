import { beforeEach, describe, expect, it } from 'vitest';
import { Flag } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud } from '../support/cloud.ts';
import { P1, P2, pair, refused, trsAt } from '../support/pair.ts';

let cloud: Cloud;

beforeEach(() => {
  cloud = new Cloud();
});

describe('a direction is refused', () => {
  it('for unknown names, without asking the register each time', () => {
    const [a] = pair(cloud);
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.unknownName));
    const queries = cloud.register.queries.length;
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.unknownName));
    expect(a.direct('', P1)).toMatchObject(refused(Refusal.unknownName));
    expect(cloud.register.queries.length).toBe(queries);
    cloud.addDevice('nobody');
    cloud.changed();
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.offline));
  });

  it('for oneself', () => {
    const [a] = pair(cloud);
    expect(a.direct('a.lab.example', P1)).toMatchObject(refused(Refusal.policy));
  });

  it('for a device that is not there', () => {
    const [a, b] = pair(cloud);
    cloud.addDevice('c');
    expect(a.direct('c.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    cloud.filter = ({ to }) => to !== b.mapped;
    a.direct('b.lab.example', P2);
    cloud.filter = ({ to }) => to.port !== b.mapped.port;
    cloud.pass(7_000);
    expect(a.latest).toMatchObject(refused(Refusal.offline));
  });

  it('for a disabled device, with a counter, and nobody else hears of it', () => {
    const [a, b] = pair(cloud);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.disabled));
    expect(cloud.counts.get('directions-refused-disabled')).toBe(1);
    expect(cloud.drops.get('direction-refused')).toBe(1);
    expect(b.directed).toEqual([]);
  });

  it.each([{ signKey: null }, { handshakeKey: null }, { certificate: null }])('for a device without %o', (missing) => {
    const [a, b] = pair(cloud);
    cloud.register.change(b.device.nodeId, missing);
    cloud.changed();
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    expect(b.directed).toEqual([]);
  });

  it('by the responder', () => {
    const { trs } = cloud.addTrs('trs', trsAt);
    const [a, b] = pair(cloud);
    b.confirm = { flags: Flag.response | Flag.failure, options: { refusal: { reason: Refusal.policy } } };
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.policy));
    expect(cloud.nms.sizes.paths).toBe(0);
    expect(trs.sizes.paths).toBe(0);
  });

  it('when its PathID is in use by other ends', () => {
    const [a, b] = pair(cloud);
    const c = cloud.addNode(cloud.addDevice('c'), { address: '192.0.2.9', port: 7444 });
    c.register();
    a.direct('b.lab.example', P1);
    expect(c.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.pathIdInUse));
    expect(b.direct('a.lab.example', P1)).toMatchObject(refused(Refusal.pathIdInUse));
    expect(cloud.drops.get('path-in-use')).toBe(2);
    b.confirm = null;
    a.direct('b.lab.example', P2);
    expect(c.direct('b.lab.example', P2)).toMatchObject(refused(Refusal.pathIdInUse));
  });

  it('when one node asks for another faster than that should have to open paths', () => {
    const [a, b] = pair(cloud);
    for (let i = 0; i < 500; i++) a.direct('b.lab.example', i.toString(16).padStart(32, '0'));
    expect(b.directed.length).toBe(64);
    expect(a.latest).toMatchObject(refused(Refusal.overloaded));
    expect(b.direct('a.lab.example', P1)).toMatchObject({ flags: Flag.response });
    cloud.pass(1_000);
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('when one node asks for too many at once', () => {
    const [a, b] = pair(cloud);
    b.confirm = null;
    for (let i = 0; i < 40; i++) a.direct('b.lab.example', i.toString(16).padStart(32, '0'));
    expect(a.latest).toMatchObject(refused(Refusal.overloaded));
    expect([...a.answers.values()].filter((m) => m.type === 'routeDirection')).toHaveLength(8);
  });
});

describe('repeated requests', () => {
  it('get the same answer and direct once', () => {
    cloud.addTrs('trs', trsAt);
    const [a, b] = pair(cloud);
    let lost = 3;
    cloud.filter = ({ to }) => !(to === a.mapped || to.port === a.mapped.port) || --lost < 0;
    a.direct('b.lab.example', P1);
    cloud.pass(3_000);
    expect(a.latest).toMatchObject({ flags: Flag.response, body: { tunnelKey: b.directed[0]!.body.tunnelKey } });
    expect(b.directed).toHaveLength(1);
    expect([...cloud.counts].filter(([name]) => name.startsWith('directed-'))).toEqual([[expect.any(String), 1]]);
  });

  it('of the same path under a new Transaction ID get the same keys', () => {
    const [a, b] = pair(cloud);
    const first = a.direct('b.lab.example', P1);
    const second = a.direct('b.lab.example', P1);
    expect(second).toMatchObject({ flags: Flag.response, body: first!.body });
    expect(second!.transactionId).not.toBe(first!.transactionId);
    expect(b.directed).toHaveLength(1);
  });

  it('while the responder is asked wait for its answer', () => {
    const [a, b] = pair(cloud);
    b.confirm = null;
    a.direct('b.lab.example', P1);
    a.direct('b.lab.example', P1);
    expect(a.latest).toBeUndefined();
    b.confirm = { flags: Flag.response, options: {} };
    cloud.pass(1_000);
    expect(a.latest).toMatchObject({ flags: Flag.response });
  });

  it('are nothing a third node can confirm, not even behind the same adapter', () => {
    const [a, b] = pair(cloud);
    const c = cloud.addNode(cloud.addDevice('c'), b.mapped);
    c.register();
    cloud.place(b);
    b.confirm = null;
    a.direct('b.lab.example', P1);
    const { transactionId } = b.directed[0]!;
    const id = c.device.nodeId;
    for (const datagram of c.channel.seal({ type: 'ack', id, transactionId, flags: Flag.response, body: {} })) {
      cloud.send(c.mapped, c.nms, datagram);
    }
    expect(a.latest).toBeUndefined();
    b.confirm = { flags: Flag.response, options: {} };
    cloud.pass(1_000);
    expect(a.latest).toMatchObject({ flags: Flag.response });
  });
});
