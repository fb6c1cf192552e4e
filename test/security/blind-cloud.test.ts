/** Whoever has the whole cloud but for the CA's private key reads nothing and passes for nobody (docs/security.md). */

import { beforeEach, describe, expect, it } from 'vitest';
import { Channel } from '../../src/core/channel.ts';
import type { Session } from '../../src/core/node/types.ts';
import { type CertificateContent, issueCertificate, readCertificate } from '../../src/crypto/certificate.ts';
import { generateIdentity, type Identity, publicIdentity } from '../../src/crypto/identity.ts';
import { nodePrimitives } from '../../src/crypto/node.ts';
import type { Device } from '../../src/lib/device.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import { Suite } from '../../src/proto/constants.ts';
import { HeaderOffset } from '../../src/proto/header.ts';
import { Flag } from '../../src/proto/messages.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { Lab } from '../core/node/lab.ts';
import { SimNode } from '../sim/node.ts';
import { contentOf } from '../sim/packet.ts';
import type { SimRegister } from '../sim/shell.ts';
import { Eve } from './eve.ts';

const primitives = nodePrimitives(evpAead);
/** Keys that the devices used, which nobody told Eve. */
let secrets: Uint8Array[];
const watched = nodePrimitives((suite, key) => {
  secrets.push(key.slice());
  return evpAead(suite, key);
});
const DAY = 86_400_000;

let lab: Lab;
let a: SimNode;
let b: SimNode;
/** A device of Eve's own, properly enrolled. */
let m: SimNode;
let eveKeys: Identity;
/** What came out at somebody who isn't a or b. */
let stolen: number[];

async function open(suite: Suite): Promise<void> {
  secrets = [];
  lab = await Lab.open(1, 1, { primitives: () => watched });
  a = await lab.node('a', lab.publicly(), suite);
  b = await lab.node('b', lab.publicly(), suite);
  m = await lab.node('m', lab.publicly(), suite);
  eveKeys = generateIdentity(primitives);
  stolen = [];
}

const datagrams = (): Uint8Array[] => lab.sent.map(({ datagram }) => datagram);
const capsules = () => lab.sent.filter(({ type }) => type === 'capsule');
const endpointOf = ({ host }: SimNode): Endpoint => ({ address: host.address4!, port: host.port });

/** The NMS goes on with a register that Eve has changed. */
function doctor(change: (device: Device) => Device): void {
  const { register, nms } = lab.cloud;
  const doctored: SimRegister = {
    apply: (what) => register.apply(what),
    answer(query) {
      const answer = register.answer(query);
      if (answer.got !== 'device' || answer.device === null) return answer;
      return { ...answer, device: change(answer.device) };
    },
  };
  nms.kill();
  nms.start(doctored);
  lab.pass(60_000);
}

/** Eve in the place of b, with its Common Key and whatever else she makes up. */
function takePlaceOfB(changes: Partial<Session> = {}, identity = eveKeys, suite: Suite = Suite.aes256Gcm): SimNode {
  b.kill();
  const delivered = (_: SimNode, packet: Uint8Array): void => void stolen.push(contentOf(packet).number);
  const eve = new SimNode(lab.parts, lab.cloud, b.device, lab.publicly(), delivered, suite);
  eve.impersonate({ ...b.session!, ...changes }, identity);
  lab.pass(3_000);
  lab.nodes.push(eve);
  return eve;
}

function certificateOf(node: SimNode): Uint8Array {
  return node.session!.certificate;
}

/** A certificate with something else in it, signed by a CA of Eve's own. */
function forged(node: SimNode, changes: Partial<CertificateContent>): Uint8Array {
  const content = readCertificate(certificateOf(node)) as CertificateContent;
  return issueCertificate(primitives, primitives.ed25519Generate().privateKey, { ...content, ...changes }).octets;
}

/** The real certificate with another handshake key in place. */
function patched(node: SimNode, handshakeKey: Uint8Array): Uint8Array {
  const octets = certificateOf(node).slice();
  const { handshakeKey: before } = readCertificate(octets) as CertificateContent;
  octets.set(handshakeKey, Buffer.from(octets).indexOf(before));
  return octets;
}

function resolve(node: SimNode, name: string): unknown {
  let result: unknown = null;
  node.resolve(name, (answer) => {
    result = answer;
  });
  lab.pass(5_000);
  return result;
}

describe.each([Suite.aes256Gcm, Suite.chacha20Poly1305])('with suite %i, whoever has the cloud', (suite) => {
  beforeEach(() => open(suite));

  it('reads the signalling but opens no capsule', async () => {
    const numbers = [lab.send(a, b), lab.send(b, a)];
    lab.pass(2_000);
    expect(lab.arrived.map(({ number }) => number).sort()).toEqual(numbers);
    const eve = await Eve.rob(lab, primitives);
    eve.readSignalling(datagrams());
    const [direction] = eve.directions;
    expect(direction?.body.temporaryKey).toHaveLength(32);
    expect(eve.messages.map(({ type }) => type)).toEqual(expect.arrayContaining(['tunnelRequest', 'tunnelResponse']));
    expect(capsules().length).toBeGreaterThanOrEqual(numbers.length);
    expect(eve.readCapsules(datagrams())).toEqual([]);
    // She would, with the keys.
    eve.tell(secrets);
    expect(
      eve
        .readCapsules(datagrams())
        .map((packet) => contentOf(packet).number)
        .sort(),
    ).toEqual(numbers);
  });
});

describe('whoever has the cloud', () => {
  beforeEach(() => open(Suite.aes256Gcm));

  /** Nobody got a key, a packet or anything to send one to. */
  function expectNothing(): void {
    expect(a.sizes?.keys).toBe(0);
    expect(capsules()).toEqual([]);
    expect(stolen).toEqual([]);
    expect(lab.arrived).toEqual([]);
  }

  it('can change no capsule, and make none', async () => {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(2_000);
    const eve = await Eve.rob(lab, primitives);
    eve.readSignalling(datagrams());
    const template = capsules().findLast(({ host }) => host === a.host)!;
    const before = { arrived: lab.arrived.length, endpoint: lab.peer(b, a)?.endpoint };
    const at = (node: SimNode, reason: string): number => node.counters.get(`drop-${reason}`);

    let altered = 0;
    lab.tamper = ({ host, to, datagram, type }) => {
      if (type !== 'capsule' || host !== a.host) return 'pass';
      const changed = datagram.slice();
      const offset = [HeaderOffset.flags, HeaderOffset.sequence + 3, 40, datagram.length - 1][altered++ % 4]!;
      changed[offset]! ^= 4;
      lab.tamper = () => 'pass';
      lab.network.send(host, to, changed);
      lab.tamper = tamper;
      return 'lose';
    };
    const { tamper } = lab;
    const tags = at(b, 'tag') + at(b, 'replayed');
    for (let i = 0; i < 8; i++) lab.send(a, b);
    lab.pass(300);
    expect(altered).toBeGreaterThanOrEqual(8);
    expect(at(b, 'tag') + at(b, 'replayed')).toBe(tags + altered);
    lab.tamper = () => 'pass';

    const forgeries = at(b, 'tag');
    for (const key of eve.keys) {
      const capsule = template.datagram.slice();
      new DataView(capsule.buffer).setUint32(HeaderOffset.sequence, 9_000);
      const aead = primitives.aead(Suite.aes256Gcm, key);
      aead.seal(capsule, 0, 32, capsule.length - 48, 9_000);
      aead.close();
      lab.network.send(a.host, endpointOf(b), capsule);
    }
    lab.pass(300);
    expect(at(b, 'tag')).toBe(forgeries + eve.keys.length);
    expect(lab.arrived).toHaveLength(before.arrived);
    expect(lab.peer(b, a)?.endpoint).toBe(before.endpoint);
    expect(lab.reaches(a, b)).toBe(true);
  });

  it('is not the other end by its certificate without its keys', () => {
    const eve = takePlaceOfB();
    lab.send(a, b);
    lab.pass(15_000);
    expect(eve.counters.get('drop-handshake-failed')).toBeGreaterThan(0);
    expectNothing();
  });

  it.each([
    ['her own, valid certificate', 'certificate-name', () => certificateOf(m)],
    ['a certificate of her own CA', 'certificate-invalid', () => forged(b, publicIdentity(eveKeys))],
    ['the certificate with her key in it', 'certificate-invalid', () => patched(b, eveKeys.handshake.publicKey)],
    ['her address under the real name', 'certificate-invalid', () => forged(b, { vip4: m.device.vip4 })],
    ['no certificate', 'certificate-invalid', () => new Uint8Array(80)],
  ])('is not the other end with %s in the register, and the resolver says nothing', (_, reason, make) => {
    const certificate = make();
    takePlaceOfB({ certificate });
    doctor((device) => (device.nodeId === b.device.nodeId ? { ...device, certificate } : device));
    expect(resolve(a, b.device.fqdn)).toEqual({ status: 'silent' });
    lab.send(a, b);
    lab.pass(15_000);
    expect(a.counters.get(`drop-${reason}`)).toBeGreaterThan(0);
    expectNothing();
  });

  it('is not the other end eight days later with the certificate of today', () => {
    takePlaceOfB({}, eveKeys);
    a.setWallError(8 * DAY);
    expect(resolve(a, b.device.fqdn)).toEqual({ status: 'silent' });
    lab.send(a, b);
    lab.pass(15_000);
    expect(a.counters.get('drop-certificate-expired')).toBeGreaterThan(0);
    expectNothing();
  });

  it('leads neither a name nor an address to another device, though that one is real', () => {
    doctor((device) => (device.nodeId === b.device.nodeId ? register(m) : device));
    expect(resolve(a, b.device.fqdn)).toEqual({ status: 'silent' });
    expect(a.counters.get('drop-certificate-name')).toBeGreaterThan(0);
    lab.send(a, b);
    lab.pass(15_000);
    expect(a.counters.get('drop-certificate-address')).toBeGreaterThan(0);
    expectNothing();
    function register(node: SimNode): Device {
      const answer = lab.cloud.register.answer({
        get: 'device',
        selector: { by: 'nodeId', value: node.device.nodeId },
      });
      return answer.got === 'device' ? answer.device! : node.device;
    }
  });

  it.each([
    ['the replayed certificate', 'certificate-invalid', () => certificateOf(b)],
    ['her own certificate', 'certificate-name', () => certificateOf(m)],
  ])('is not the one who calls with %s', (_, reason, make) => {
    const eve = takePlaceOfB({ certificate: make() });
    lab.send(eve, a);
    lab.pass(15_000);
    expect(a.counters.get(`drop-${reason}`)).toBeGreaterThan(0);
    expectNothing();
  });

  it.each([
    ['made up', () => primitives.random(96)],
    ['its own question', (question: Uint8Array) => question],
    ['an answer to another question', (_: Uint8Array, recorded: Uint8Array) => recorded],
  ])('cannot answer a handshake in its place with something %s', async (_, make) => {
    expect(lab.reaches(a, b)).toBe(true);
    lab.pass(1_000);
    const eve = await Eve.rob(lab, primitives);
    eve.readSignalling(datagrams());
    const recorded = eve.messages.find((message) => message.type === 'tunnelResponse')!;
    for (const node of [a, b]) node.kill();
    for (const node of [a, b]) node.start();
    lab.pass(3_000);
    const start = lab.sent.length;
    const forgeries = new Set<Uint8Array>();
    lab.tamper = ({ type, host, datagram }) => {
      if (type === 'tunnelResponse' && host === b.host && !forgeries.has(datagram)) return 'lose';
      if (type === 'tunnelRequest' && host === a.host) lab.clock.after(0, answer);
      return 'pass';
    };
    const answer = (): void => {
      eve.readSignalling(lab.sent.slice(start).map(({ datagram }) => datagram));
      const request = eve.messages.findLast((message) => message.type === 'tunnelRequest')!;
      const direction = eve.directions.findLast(({ body }) => body.pathId === request.id)!;
      const channel = new Channel({
        primitives,
        suite: Suite.aes256Gcm,
        baseKey: direction.body.tunnelKey,
        id: request.id,
        own: { kind: SenderKind.responder, instance: primitives.random(16).toHex() },
        accept: new Map(),
        proveAddress: false,
        freshKey: true,
      });
      const { id, transactionId, epoch } = request;
      const endKey = make(request.body.endKey, recorded.body.endKey);
      const draft = {
        type: 'tunnelResponse',
        id,
        transactionId,
        epoch,
        flags: Flag.response,
        body: { endKey },
      } as const;
      for (const datagram of channel.seal(draft)) {
        forgeries.add(datagram);
        lab.network.send(b.host, endpointOf(a), datagram);
      }
    };
    lab.arrived.length = 0;
    lab.send(a, b);
    lab.pass(8_000);
    expect(forgeries.size).toBeGreaterThan(0);
    expect(a.counters.get('drop-handshake-failed')).toBeGreaterThan(0);
    expect(a.sizes?.keys).toBe(0);
    expect(lab.sent.slice(start).filter(({ type, host }) => type === 'capsule' && host === a.host)).toEqual([]);
    expect(lab.arrived).toEqual([]);
  });
});

describe("the thesis's exchange, suite cbc-md5", () => {
  beforeEach(() => open(Suite.cbcMd5));

  it('falls: whoever has the cloud reads every packet', async () => {
    const numbers = [lab.send(a, b), lab.send(b, a)];
    lab.pass(2_000);
    const eve = await Eve.rob(lab, primitives);
    eve.readSignalling(datagrams());
    const read = eve.readCapsules(datagrams()).map((packet) => contentOf(packet).number);
    expect([...new Set(read)].sort()).toEqual(numbers);
  });

  it('falls: whoever has the cloud is the other end', () => {
    const eve = takePlaceOfB({}, eveKeys, Suite.cbcMd5);
    const number = lab.send(a, b);
    lab.pass(10_000);
    expect(stolen).toContain(number);
    expect(lab.reaches(eve, a)).toBe(true);
  });

  it('is not what other devices can be talked into', () => {
    const other = takePlaceOfB({}, eveKeys, Suite.aes256Gcm);
    lab.send(a, b);
    lab.pass(10_000);
    expect(stolen).toEqual([]);
    expect(other.sizes?.keys).toBe(0);
  });
});
