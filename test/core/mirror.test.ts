import { expect, it } from 'vitest';
import { Channel } from '../../src/core/channel.ts';
import { MirrorDirectory, MirrorService } from '../../src/core/mirror.ts';
import type { Service } from '../../src/lib/device.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import { readEnvelope } from '../../src/proto/codec.ts';
import { Suite } from '../../src/proto/constants.ts';
import { type Mirror, type Options, SenderKind } from '../../src/proto/options.ts';
import { World } from '../support/primitives.ts';

const nodeId = 'ab'.repeat(16);
const from: Endpoint = { address: '192.0.2.7', port: 40_000 };
const now = { ms: 5_000, wall: 1_700_000_000_000 };

/** An NMS that grants, a TRS that answers, and a node. */
function setUp() {
  const primitives = new World(1).primitives('mirrors');
  const [nms, trs, stranger] = [1, 2, 3].map(() => primitives.x25519Generate());
  const service = (role: Service['role'], publicKey: Uint8Array): Service => ({
    ...{ name: role, role, nodeId: role === 'nms' ? '01'.repeat(16) : '02'.repeat(16), publicKey },
    ...{ address4: '198.51.100.10', address6: null, port: role === 'nms' ? 7441 : 7442, tlsPort: null },
  });
  const services = [service('nms', nms!.publicKey), service('trs', trs!.publicKey)];
  const directory = new MirrorDirectory({ primitives, keys: nms! });
  const relay = new MirrorService({ primitives, keys: trs! }, SenderKind.trs);
  directory.update(services);
  relay.update(services);
  const mirror = directory.list(nodeId, from).find(({ role }) => role === 'trs')!;
  const ask = (options: Options = {}, { key }: Pick<Mirror, 'key'> = mirror, id = nodeId) => {
    const channel = new Channel({
      ...{ primitives, suite: Suite.aes256Gcm, baseKey: key, id, proveAddress: false, freshKey: false },
      own: { kind: SenderKind.prober, instance: primitives.random(16).toHex() },
      accept: new Map([[SenderKind.trs, 1]]),
    });
    const [datagram] = channel.seal({ type: 'keepAlive', id, transactionId: 7, body: {}, options });
    const envelope = readEnvelope(datagram!);
    if (typeof envelope === 'string') throw new RangeError(envelope);
    const actions = relay.answer(datagram!, envelope, from, now);
    const [sent] = actions.flatMap((action) => (action.do === 'send' ? [action] : []));
    const answer = sent === undefined ? undefined : readEnvelope(sent.datagram);
    const opened =
      sent === undefined || typeof answer !== 'object'
        ? undefined
        : channel.open(sent.datagram, answer, mirror, now, true);
    return { actions, to: sent?.to, message: opened?.kind === 'message' ? opened.message : undefined, datagram, sent };
  };
  return { primitives, directory, stranger: stranger!, services, mirror, ask };
}

it('tells a node where it is seen, under the key that the NMS gave it', () => {
  const { ask, mirror } = setUp();
  expect(mirror).toMatchObject({ name: 'trs', address: '198.51.100.10', port: 7442 });
  const { to, message } = ask();
  expect(to).toEqual(from);
  expect(message).toMatchObject({ type: 'ack', transactionId: 7, options: { mapped: { endpoint: from } } });
});

it('answers to another port, but to no other address', () => {
  const { ask } = setUp();
  expect(ask({ answerTo: { endpoint: { ...from, port: 41_000 } } }).to).toEqual({ ...from, port: 41_000 });
  const { actions, to } = ask({ answerTo: { endpoint: { address: '203.0.113.9', port: 53 } } });
  expect(to).toBeUndefined();
  expect(actions).toEqual([{ do: 'drop', reason: 'foreign-address', from }]);
});

it('answers nothing to a key of another node, of another grant or of nobody', () => {
  const { primitives, ask, directory, services, stranger } = setUp();
  const foreign = directory.list('cd'.repeat(16), from)[1]!;
  expect(ask({}, foreign).actions).toEqual([{ do: 'drop', reason: 'tag', from }]);
  const rogue = new MirrorDirectory({ primitives, keys: stranger });
  rogue.update(services);
  expect(ask({}, rogue.list(nodeId, from)[1]!).actions).toEqual([{ do: 'drop', reason: 'tag', from }]);
  expect(ask({}, { key: new Uint8Array(32) }).actions).toEqual([{ do: 'drop', reason: 'tag', from }]);
});

it('never answers with three times what it was asked, and bounds its work', () => {
  const { ask } = setUp();
  const { datagram, sent } = ask();
  expect(sent!.datagram.length).toBeLessThanOrEqual(3 * datagram!.length);
  const reasons = Array.from({ length: 2_100 }, () => ask({}, { key: new Uint8Array(32) }).actions[0]);
  expect(reasons.at(-1)).toEqual({ do: 'drop', reason: 'rate-limited', from });
});

it('names only mirrors that the node reaches by its family', () => {
  const { directory } = setUp();
  expect(directory.list(nodeId, { address: '2001:db8::1', port: 1 })).toEqual([]);
});
