/** The only NMS of its network: what it shares with nobody is there for its next life. */

import { beforeEach, describe, expect, it } from 'vitest';
import { Flag } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud } from '../support/cloud.ts';
import { P1, P2, pair, refused } from '../support/pair.ts';

let cloud: Cloud;

describe('an NMS that shares with nobody', () => {
  /** Its questions to the store. */
  let asked = 0;

  function start(): void {
    const nms = cloud.startReplica(0, { alone: true });
    const recalled = nms.recalled.bind(nms);
    nms.recalled = (...answer) => {
      asked++;
      return recalled(...answer);
    };
  }

  beforeEach(() => {
    cloud = new Cloud();
    asked = 0;
    start();
    cloud.spread = () => 0;
  });

  it('asks what its earlier life knew of a node, once, and nothing while it hears the node', () => {
    const [a, b] = pair(cloud);
    cloud.pass(1_000);
    start();
    asked = 0;
    for (const node of [a, b]) expect(node.keepAlive()).toMatchObject({ flags: Flag.response });
    expect(asked).toBe(2);
    expect(a.direct('b.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(b.direct('a.lab.example', P2)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(asked).toBe(2);
  });

  it('asks again for a node it forgot', () => {
    const [a, b] = pair(cloud);
    cloud.pass(80_000);
    a.keepAlive();
    cloud.pass(30_000);
    asked = 0;
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    expect(asked).toBe(1);
    b.register();
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });
});
