/** Simulated devices: records in the register with everything a login leaves there, and nodes that speak for them. */

import { join } from 'node:path';
import { issueCertificate } from '../../src/crypto/certificate.ts';
import { generateIdentity, type Identity, publicIdentity } from '../../src/crypto/identity.ts';
import { nodePrimitives } from '../../src/crypto/node.ts';
import type { Device } from '../../src/lib/device.ts';
import { type Endpoint, sameEndpoint } from '../../src/lib/ip.ts';
import { readEnvelope } from '../../src/proto/codec.ts';
import { readKeyFile, readNetworkFile } from '../../src/roles/network-files.ts';
import { openRegister } from '../../src/store/open.ts';
import { hashSecret } from '../../src/store/password.ts';
import { readClock } from '../../src/sys/clock.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { hkdf } from '../../src/sys/hkdf.ts';
import { FakeNode, type Host } from '../../test/core/support/node.ts';
import { SocketWire, type Wire } from './wire.ts';

export const primitives = nodePrimitives(evpAead, hkdf);

const KEY_LIFE_MS = 86_400_000;
/** How often requests under way are looked through for those to repeat. */
const TICK_MS = 20;

export type Enrolled = { readonly device: Device; readonly identity: Identity };

/** Devices that have logged in, or with `secret` set, that are about to for the first time. */
export async function addDevices(
  directory: string,
  prefix: string,
  count: number,
  secret?: Uint8Array,
): Promise<Enrolled[]> {
  const file = readNetworkFile(join(directory, 'cloud.yaml'));
  const caKey = readKeyFile(file.caKeyFile);
  const register = await openRegister(file.registerFile, file.network);
  const hash = secret === undefined ? null : await hashSecret(secret);
  const enrolled: Enrolled[] = [];
  for (let i = 0; i < count; i++) {
    const deviceId = `${prefix}${i}`;
    const identity = generateIdentity(primitives);
    const given = { groups: [], adapter: null, mac: null, auth: 'token', mode: 'dual', trustedCa: null } as const;
    const device = await register.add({ ...given, deviceId, secretHash: hash, secretExpires: null });
    const { signKey, handshakeKey } = publicIdentity(identity);
    const now = Date.now();
    const validity = { notBefore: Math.floor(now / 1_000) - 60, notAfter: Math.floor((now + KEY_LIFE_MS) / 1_000) };
    const { octets: certificate } = issueCertificate(primitives, caKey, {
      ...device,
      signKey,
      handshakeKey,
      ...validity,
    });
    const commonKey = primitives.random(32);
    if (secret === undefined) {
      const keys = { signKey, handshakeKey, certificate, pendingCommonKey: commonKey, keyExpires: now + KEY_LIFE_MS };
      await register.change({ set: 'login', deviceId, mayPin: true, ...keys });
      await register.change({ set: 'acknowledged', deviceId, commonKey });
    }
    enrolled.push({ device: { ...device, signKey, handshakeKey, certificate, commonKey }, identity });
  }
  await register.close();
  return enrolled;
}

/** Nodes on many addresses of `nodeRange`, each with a port of its own. */
export class Population {
  readonly nodes: FakeNode[] = [];
  readonly #wire: Wire;
  /** Told of each Route Direction that a node gets as Responder. */
  directed: (direction: FakeNode['directed'][number]) => void = () => {};
  /** Nodes with a request under way, and whom to tell. */
  readonly #waiting = new Map<FakeNode, (error: string | null) => void>();

  #tickAt = 0;

  private constructor(wire: Wire) {
    this.#wire = wire;
  }

  static async open(devices: readonly Enrolled[], nms: Endpoint, wire: Wire = new SocketWire()): Promise<Population> {
    const population = new Population(wire);
    for (const [i, { device }] of devices.entries()) await population.#add(device, i, nms);
    return population;
  }

  /** One request of a node that has none under way; null = it has. `ask` sends it. */
  begin(node: FakeNode, ask: () => void, done: (error: string | null) => void): boolean {
    if (this.#waiting.has(node)) return false;
    this.#waiting.set(node, done);
    ask();
    return true;
  }

  /** Takes in what has arrived, waiting for it at most that long (ms), and repeats what was not answered, where that is due. */
  tick(waitMs = 0): void {
    this.#wire.pump(waitMs);
    const now = performance.now();
    if (now < this.#tickAt) return;
    for (const [node, done] of this.#waiting) {
      node.tick();
      if (node.failed.length > 0) this.#settle(node, done, 'timeout');
    }
    // With a hundred thousand of them the looking must leave time for the answers.
    const took = performance.now() - now;
    this.#tickAt = now + Math.max(TICK_MS, 5 * took);
  }

  /** How long what is being taken in has waited for us at most (ms). */
  get behindMs(): number {
    return this.#wire.behindMs;
  }

  close(): void {
    this.#wire.close();
  }

  async #add(device: Device, index: number, nms: Endpoint): Promise<void> {
    const seat = await this.#wire.join(index, (datagram, from) => this.#received(node, datagram, from));
    const host: Host = {
      get now() {
        return readClock();
      },
      primitives: () => primitives,
      send: (_, to, datagram) => seat.send(to, datagram),
    };
    const node = new FakeNode(host, device, seat.at, seat.at, nms);
    this.nodes.push(node);
  }

  #received(node: FakeNode, datagram: Uint8Array, from: Endpoint): void {
    if (typeof readEnvelope(datagram) !== 'string') node.receive(datagram, from);
    const done = this.#waiting.get(node);
    const [answer] = node.answers.values();
    if (done !== undefined && answer !== undefined) {
      const { refusal, mapped } = answer.options;
      const isTrue = mapped === undefined || sameEndpoint(mapped.endpoint, node.mapped);
      this.#settle(
        node,
        done,
        refusal === undefined ? (isTrue ? null : 'another address') : `refused ${refusal.reason}`,
      );
    }
    node.answers.clear();
    for (const direction of node.directed.splice(0)) this.directed(direction);
  }

  #settle(node: FakeNode, done: (error: string | null) => void, error: string | null): void {
    this.#waiting.delete(node);
    node.failed.length = 0;
    node.answers.clear();
    done(error);
  }
}
