import { describe, expect, it } from 'vitest';
import { MirrorDirectory, MirrorService } from '../../../src/core/mirror.ts';
import { NatCheck, type NatReport, type ProbeSend, type ProbeSocket } from '../../../src/core/node/nat-check.ts';
import type { Service } from '../../../src/lib/device.ts';
import { type Endpoint, sameEndpoint } from '../../../src/lib/ip.ts';
import { readEnvelope } from '../../../src/proto/codec.ts';
import { SenderKind } from '../../../src/proto/options.ts';
import { Nat, type NatType } from '../../sim/nat.ts';
import { Random } from '../../sim/random.ts';
import { World } from '../../support/primitives.ts';

const NODE = '0123456789abcdef0123456789abcdef';
const inside: { readonly [S in ProbeSocket]: Endpoint } = {
  quiet: { address: '10.1.0.2', port: 50_001 },
  loud: { address: '10.1.0.2', port: 50_002 },
};
const places: Record<string, Endpoint & { role: 'nms' | 'trs' }> = {
  nms: { role: 'nms', address: '198.51.100.10', port: 7441 },
  trs: { role: 'trs', address: '198.51.100.10', port: 7442 },
  far: { role: 'trs', address: '198.51.100.11', port: 7442 },
};

/** A node behind a NAT (null: none) asks real mirrors, of which some may be silent. */
function check(
  nat: Nat | null,
  names: readonly string[],
  { silent = [], forge }: { silent?: readonly string[]; forge?: (answer: Uint8Array) => Uint8Array } = {},
): { report: NatReport; sent: number } {
  const world = new World(1);
  const members = names.map((name) => {
    const { role, address, port } = places[name]!;
    const primitives = world.primitives(name);
    const keys = primitives.x25519Generate();
    const nodeId = primitives.random(16).toHex();
    const { publicKey } = keys;
    const at = { address4: address, address6: null, port, tlsPort: null };
    const record: Service = { role, name, nodeId, publicKey, ...at };
    const kind = role === 'nms' ? SenderKind.nms : SenderKind.trs;
    return { name, at: { address, port }, identity: { primitives, keys }, record, kind };
  });
  const services = members.map(({ record }) => record);
  const directory = new MirrorDirectory(members.find(({ record }) => record.role === 'nms')!.identity);
  directory.update(services);
  const mirrors = new Map(
    members.map(({ identity, kind, name, at }) => {
      const service = new MirrorService(identity, kind);
      service.update(services);
      return [name, { service, at }];
    }),
  );
  const nodeCheck = new NatCheck(
    world.primitives('node'),
    NODE,
    directory.list(NODE, { address: '10.1.0.2', port: 1 }),
  );
  let ms = 0;
  let sent = 0;
  const now = () => ({ ms, wall: ms });
  const perform = (sends: readonly ProbeSend[]): void => {
    for (const { socket, to, datagram } of sends) {
      sent += 1;
      const from = nat === null ? inside[socket] : nat.out(inside[socket], to, ms);
      const [name, mirror] = [...mirrors].find(([, { at }]) => sameEndpoint(at, to)) ?? [];
      const envelope = readEnvelope(datagram);
      if (mirror === undefined || silent.includes(name!) || typeof envelope === 'string') continue;
      for (const action of mirror.service.answer(datagram, envelope, from, now())) {
        if (action.do !== 'send') continue;
        const home = nat === null ? action.to : nat.in(action.to.port, mirror.at, ms);
        const reached = (Object.keys(inside) as ProbeSocket[]).some(
          (s) => home !== null && sameEndpoint(inside[s], home),
        );
        if (reached) perform(nodeCheck.receive(forge?.(action.datagram) ?? action.datagram, mirror.at, now()));
      }
    }
  };
  perform(nodeCheck.begin(now()));
  while (nodeCheck.report === null) {
    ms = nodeCheck.due;
    perform(nodeCheck.tick(now()));
  }
  nodeCheck.close();
  return { report: nodeCheck.report, sent };
}

const behind = (type: NatType): Nat => new Nat(type, '203.0.113.1', 60_000, new Random(1));

describe('what kind of NAT is in between', () => {
  it.each([
    ['fullCone', 'endpoint-independent', 'endpoint-independent'],
    ['addressRestricted', 'endpoint-independent', 'address-dependent'],
    ['portRestricted', 'endpoint-independent', 'address-and-port-dependent'],
    ['symmetric', 'address-and-port-dependent', 'address-and-port-dependent'],
  ] as const)('is told of %s', (type, mapping, filtering) => {
    const { report } = check(behind(type), ['nms', 'trs', 'far']);
    expect(report.type).toEqual({ mapping, filtering });
    expect(report.sights.map(({ mapped }) => mapped?.address)).toEqual(Array(3).fill('203.0.113.1'));
  });

  it('is none where every mirror sees the socket itself', () => {
    const { report } = check(null, ['nms', 'trs', 'far']);
    expect(report.type).toEqual({ mapping: 'endpoint-independent', filtering: 'endpoint-independent' });
    expect(report.sights.every(({ mapped }) => mapped !== null && sameEndpoint(mapped, inside.loud))).toBe(true);
  });

  it('is told as far as the mirrors’ addresses allow', () => {
    // Two ports of one address: what another address would be let in stays open, unless not even a port is.
    expect(check(behind('addressRestricted'), ['nms', 'trs']).report.type.filtering).toBeNull();
    expect(check(behind('portRestricted'), ['nms', 'trs']).report.type.filtering).toBe('address-and-port-dependent');
    // Two addresses: the same the other way round.
    expect(check(behind('fullCone'), ['nms', 'far']).report.type.filtering).toBe('endpoint-independent');
    expect(check(behind('portRestricted'), ['nms', 'far']).report.type.filtering).toBeNull();
    // One mirror tells nothing but where it sees us.
    const { report } = check(behind('symmetric'), ['nms']);
    expect(report.type).toEqual({ mapping: null, filtering: null });
    expect(report.sights[0]!.mapped).not.toBeNull();
  });

  it('is told without those that are silent, and the next one is asked in the place of the first', () => {
    const { report } = check(behind('portRestricted'), ['nms', 'trs', 'far'], { silent: ['nms'] });
    expect(report.type.mapping).toBe('endpoint-independent');
    expect(report.sights.find(({ mirror }) => mirror.name === 'nms')).toMatchObject({ mapped: null, rttMs: null });
  });

  it('ends without an answer of anybody, after few questions', () => {
    const { report, sent } = check(behind('fullCone'), ['nms', 'trs', 'far'], { silent: ['nms', 'trs', 'far'] });
    expect(report.type).toEqual({ mapping: null, filtering: null });
    expect(sent).toBeLessThanOrEqual(6 * 4);
  });

  it('is told by mirrors only: an answer that was changed on its way counts for nothing', () => {
    const forge = (answer: Uint8Array): Uint8Array => answer.with(answer.length - 20, answer.at(-20)! ^ 1);
    const { report } = check(behind('fullCone'), ['nms', 'trs', 'far'], { forge });
    expect(report.sights.every(({ mapped }) => mapped === null)).toBe(true);
    expect(report.type).toEqual({ mapping: null, filtering: null });
  });
});
