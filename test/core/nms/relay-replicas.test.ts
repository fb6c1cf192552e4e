/** Several replicas of one TRS, each at an address of its own. */

import { beforeEach, describe, expect, it } from 'vitest';
import type { RelayReplica } from '../../../src/core/nms/relays.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Cloud } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';
import { P1, P2, pair, publicA, publicB, trsAt } from '../support/pair.ts';

let cloud: Cloud;

beforeEach(() => {
  cloud = new Cloud();
  for (const number of [0, 1, 2]) cloud.startReplica(number);
  cloud.spread = ({ address }) => (address === publicB.address ? 1 : 0);
});

describe('replicas of a TRS', () => {
  const at = (host: number): Endpoint => ({ address: `198.51.100.${host}`, port: 7442 });
  const inside: Endpoint = { address: '10.0.0.2', port: 7444 };

  /** A TRS of the register, and two replicas of it at addresses of their own. */
  function relays() {
    const { keys, nodeId: service } = cloud.addTrs('trs', trsAt);
    const replicas = [31, 32].map((host) => {
      const { address } = at(host);
      const { trs, nodeId } = cloud.addTrsReplica(`replica ${host}`, at(host), keys);
      const own = { address4: address, address6: null, port: 7442, tlsPort: 4_400 + host };
      return { trs, announced: { service, nodeId, ...own, draining: false } };
    });
    const announce = (announced: readonly RelayReplica[]): void => {
      for (const nms of cloud.replicas.values()) nms.relaysPresent(announced, cloud.now);
    };
    announce(replicas.map(({ announced }) => announced));
    return { replicas, announce };
  }

  const direct = (from: FakeNode, pathId: string) => {
    const answer = from.direct('b.lab.example', pathId);
    return answer?.type === 'routeDirection' ? answer : undefined;
  };

  it('take the place of the one in the register, each with paths of its own', () => {
    const { replicas } = relays();
    const [a] = pair(cloud, inside, publicA, { ...inside, address: '10.1.0.2' }, publicB);
    const told = [P1, P2].map((pathId) => {
      const { body, options } = direct(a, pathId)!;
      return `${body.trs4} ${options.streamPort?.port}`;
    });
    expect(told.sort()).toEqual(['198.51.100.31 4431', '198.51.100.32 4432']);
    expect(replicas.map(({ trs }) => trs.sizes.paths)).toEqual([1, 1]);
  });

  it('are left alone while they drain and once they are not announced any more', () => {
    const { replicas, announce } = relays();
    const [one, two] = replicas.map(({ announced }) => announced) as [RelayReplica, RelayReplica];
    const [a] = pair(cloud, inside, publicA, { ...inside, address: '10.1.0.2' }, publicB);
    announce([{ ...one, draining: true }, two]);
    expect([P1, P2].map((pathId) => direct(a, pathId)!.body.trs4)).toEqual([two.address4, two.address4]);
    cloud.pass(2_000);
    announce([one]);
    cloud.pass(2_000);
    announce([one]);
    expect(direct(a, '3'.repeat(32))!.body.trs4).toBe(one.address4);
    cloud.pass(4_000);
    announce([]);
    // Behind two NATs they punch without a relay; the address of the register is nobody's.
    expect(direct(a, '4'.repeat(32))!.body.trs4).toBeNull();
  });

  it('have to know the key that the register says', () => {
    const { nodeId: service } = cloud.addTrs('trs', trsAt);
    const { trs, nodeId } = cloud.addTrsReplica('liar', at(31), cloud.primitives('other').x25519Generate());
    const liar = {
      service,
      nodeId,
      address4: at(31).address,
      address6: null,
      port: 7442,
      tlsPort: null,
      draining: false,
    };
    for (const nms of cloud.replicas.values()) nms.relaysPresent([liar], cloud.now);
    const [a] = pair(cloud, inside, publicA, { ...inside, address: '10.1.0.2' }, publicB);
    a.direct('b.lab.example', P1);
    cloud.pass(3_000);
    expect(trs.sizes.paths).toBe(0);
    expect(a.latest).toMatchObject({ body: { trs4: null } });
  });
});
