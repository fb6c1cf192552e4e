/** Whatever happens in whatever order: no number twice under one key, nothing thrown, nothing left behind. */

import { expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import type { MessageOf } from '../../../src/proto/codec.ts';
import { Flag } from '../../../src/proto/messages.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import fc from '../../support/property.ts';
import { Cloud, nmsEndpoint } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';

const trsAt: Endpoint = { address: '198.51.100.20', port: 7442 };

const happening = fc.oneof(
  fc.record({ what: fc.constantFrom('register', 'first', 'keepAlive', 'restart', 'move'), who: fc.nat(2) }),
  fc.record({ what: fc.constant('direct'), who: fc.nat(2), whom: fc.nat(2), path: fc.nat(5) }),
  fc.record({ what: fc.constantFrom('disable', 'enable', 'rekey'), who: fc.nat(2) }),
  fc.record({ what: fc.constant('pass'), ms: fc.constantFrom(100, 2_000, 40_000, 100_000) }),
  fc.record({ what: fc.constant('weather'), loss: fc.nat(3), doubled: fc.boolean() }),
  fc.record({ what: fc.constantFrom('restartNms', 'outage', 'replay') }),
);
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

class Story {
  readonly cloud: Cloud;
  readonly nodes: FakeNode[];
  readonly trs;
  #moves = 0;
  #lives = 0;

  constructor(seed: number) {
    this.cloud = new Cloud(seed);
    this.trs = this.cloud.addTrs('trs', trsAt).trs;
    this.nodes = ['a', 'b', 'c'].map((name, i) => {
      const mapped: Endpoint = { address: `203.0.113.${i + 1}`, port: 7444 };
      return this.cloud.addNode(this.cloud.addDevice(name), { address: `10.${i}.0.2`, port: 7444 }, mapped);
    });
  }

  happen(event: Happening): void {
    const { cloud, nodes } = this;
    const node = nodes['who' in event ? event.who : 0]!;
    const { nodeId } = node.device;
    switch (event.what) {
      case 'register':
        node.register();
        break;
      case 'first':
        node.register(Flag.first);
        break;
      case 'keepAlive':
        node.keepAlive();
        break;
      case 'restart':
        node.restart(cloud.register.devices.get(nodeId)!.commonKey!);
        break;
      case 'move':
        node.mapped = { ...node.mapped, port: 10_000 + this.#moves++ };
        cloud.place(node);
        break;
      case 'direct':
        this.#direct(node, nodes['whom' in event ? event.whom : 0]!, 'path' in event ? event.path : 0);
        break;
      case 'disable':
      case 'enable':
        cloud.register.change(nodeId, { state: event.what === 'disable' ? 'disabled' : 'enrolled' });
        cloud.changed();
        break;
      case 'rekey': {
        const { commonKey } = cloud.register.devices.get(nodeId)!;
        cloud.register.change(nodeId, {
          commonKey: cloud.world.primitives(`key ${this.#lives++}`).random(32),
          pendingCommonKey: commonKey,
        });
        break;
      }
      case 'pass':
        cloud.pass('ms' in event ? event.ms : 0);
        break;
      case 'weather':
        this.#weather(event);
        break;
      case 'restartNms':
        cloud.startNms(`life ${this.#lives++}`);
        break;
      case 'outage':
        cloud.register.broken = !cloud.register.broken;
        cloud.changed();
        break;
      case 'replay':
        for (const { from, to, datagram } of cloud.sent.slice(0, 10)) cloud.send(from, to, datagram);
        break;
    }
  }

  #direct(from: FakeNode, to: FakeNode, path: number): void {
    const answer = from.direct(to.device.fqdn, String(path).repeat(32));
    if (answer?.type !== 'routeDirection' || answer.flags !== Flag.response) return;
    from.bind(answer as MessageOf<'routeDirection'>, SenderKind.initiator, trsAt);
  }

  #weather(event: Happening): void {
    const loss = 'loss' in event ? event.loss : 0;
    const doubled = 'doubled' in event && event.doubled;
    let count = 0;
    let again = false;
    this.cloud.filter = (sent) => {
      if (again) return true;
      if (doubled) {
        again = true;
        this.cloud.send(sent.from, sent.to, sent.datagram);
        again = false;
      }
      return ++count % 4 >= loss;
    };
  }
}

it('in any order of events', () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(happening, { minLength: 5, maxLength: 40 }), (seed, events) => {
      const story = new Story(seed);
      for (const event of events) story.happen(event);
      const { cloud } = story;
      expect(cloud.world.reused).toEqual([]);
      cloud.filter = () => true;
      cloud.register.broken = false;
      cloud.pass(100_000);
      expect(cloud.nms.sizes).toMatchObject({ nodes: 0, questions: 0 });
      // And it all works again.
      const [a, b] = story.nodes as [FakeNode, FakeNode, FakeNode];
      for (const node of [a, b]) {
        cloud.register.change(node.device.nodeId, { state: 'enrolled' });
        node.restart(cloud.register.devices.get(node.device.nodeId)!.commonKey!);
      }
      cloud.changed();
      expect(a.register(Flag.first)).toBeDefined();
      expect(b.register(Flag.first)).toBeDefined();
      expect(a.direct('b.lab.example', 'f'.repeat(32))).toMatchObject({ flags: Flag.response });
      expect(cloud.world.reused).toEqual([]);
    }),
    { numRuns: 150 },
  );
});

it('with datagrams altered or cut anywhere', () => {
  const story = new Story(1);
  const { cloud } = story;
  const [a, b] = story.nodes as [FakeNode, FakeNode, FakeNode];
  a.register();
  b.register();
  story.happen({ what: 'direct', who: 0, whom: 1, path: 1 });
  const recorded = cloud.sent.filter(({ to }) => to.port === nmsEndpoint.port || to.port === trsAt.port);
  const held = () => [{ ...cloud.nms.sizes, questions: 0 }, story.trs.sizes];
  const before = held();
  expect(recorded.length).toBeGreaterThan(8);
  fc.assert(
    fc.property(
      fc.nat(recorded.length - 1),
      fc.nat(1231),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (i, at, change, cut) => {
        const { from, datagram } = recorded[i]!;
        const altered = cut ? datagram.slice(0, at % datagram.length) : datagram.slice();
        if (altered.length > 0) altered[at % altered.length]! ^= change;
        for (const machine of [cloud.nms, story.trs]) {
          const actions = machine.receive(altered, from, cloud.now);
          expect(actions.filter((action) => action.do === 'send')).toEqual([]);
        }
      },
    ),
    { numRuns: 2_000 },
  );
  expect(held()).toEqual(before);
});
