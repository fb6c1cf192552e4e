/** An AS machine with a register in memory, whose connections are driven by hand. */

import { expect } from 'vitest';
import type { Action } from '../../../src/core/actions.ts';
import { AsMachine } from '../../../src/core/as/machine.ts';
import type { AsAction } from '../../../src/core/as/questions.ts';
import { issueCertificate } from '../../../src/crypto/certificate.ts';
import { generateIdentity, type Identity, publicIdentity, signLogin } from '../../../src/crypto/identity.ts';
import type { NewDevice } from '../../../src/lib/device.ts';
import { type Endpoint, formatEndpoint } from '../../../src/lib/ip.ts';
import { decodePlain, encodePlain, type MessageOf } from '../../../src/proto/codec.ts';
import { AuthType, ExecMode } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { openMemory } from '../../../src/store/memory.ts';
import { primitives } from '../../crypto/fixtures.ts';
import { network, newDevice } from '../../store/network.ts';

export type Pending = (Action | AsAction) & { readonly do: 'load' | 'save' | 'hash' };

const NO_ID = '0'.repeat(32);
const text = (octets: Uint8Array) => new TextDecoder().decode(octets);
export const secretOf = (deviceId: string) => new TextEncoder().encode(`secret of ${deviceId.toLowerCase()}`);

export class AsBench {
  readonly ca = primitives.ed25519Generate();
  now = { ms: 1_000, wall: 1_800_000_000_000 };
  readonly register = openMemory(network, () => this.now.wall);
  readonly machine: AsMachine;
  readonly counts = new Map<string, number>();
  readonly logs: { level: string; message: string; fields: Record<string, unknown> | undefined }[] = [];
  /** The kinds of questions asked, in order. */
  readonly asked: string[] = [];
  readonly sent = new Map<string, Uint8Array[]>();
  readonly ended = new Set<string>();
  /** When true, questions wait in `pending` instead of being answered. */
  hold: (action: Pending) => boolean = () => false;
  readonly pending: Pending[] = [];
  registerLost = false;
  #connections = 0;

  constructor(tlsRoot = '') {
    this.machine = new AsMachine({
      primitives,
      network,
      issue: (content) => issueCertificate(primitives, this.ca.privateKey, content),
      tlsRoot,
    });
  }

  async addService(): Promise<void> {
    const service = { name: 'nms', role: 'nms', nodeId: '1'.repeat(32), publicKey: new Uint8Array(32) } as const;
    await this.register.putService({
      ...service,
      address4: '192.0.2.1',
      address6: '2001:db8::1',
      port: 7441,
      tlsPort: null,
    });
    await this.register.putService({
      ...service,
      name: 'trs',
      role: 'trs',
      nodeId: '2'.repeat(32),
      address4: '192.0.2.9',
      address6: null,
      port: 7442,
      tlsPort: 443,
    });
  }

  addDevice(deviceId: string, more: Partial<NewDevice> = {}) {
    const secretExpires = this.now.wall + 86_400_000;
    return this.register.add(
      newDevice(deviceId, { secretHash: `hash of ${text(secretOf(deviceId))}`, secretExpires, ...more }),
    );
  }

  device(deviceId: string) {
    const answer = this.register.answer({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
    return answer.got === 'device' ? answer.device : null;
  }

  connect(address = '203.0.113.5'): Connection {
    const endpoint = { address, port: 10_000 + this.#connections++ };
    const exporter = primitives.random(32);
    this.run(this.machine.connected(endpoint, exporter, this.now));
    return new Connection(this, endpoint, exporter);
  }

  run(actions: readonly (Action | AsAction)[]): void {
    for (const action of actions) this.#perform(action);
  }

  answer(action: Pending): void {
    this.asked.push(action.do === 'load' ? action.query.get : action.do);
    this.run(this.#bring(action));
  }

  #bring(action: Pending): (Action | AsAction)[] {
    const { machine, register, registerLost, now } = this;
    switch (action.do) {
      case 'load':
        return machine.loaded(action.ticket, registerLost ? null : register.answer(action.query), now);
      case 'save':
        return machine.saved(action.ticket, registerLost ? null : register.apply(action.change), now);
      case 'hash':
        return machine.hashed(action.ticket, action.hash === `hash of ${text(action.password)}`, now);
    }
  }

  /** Lets time pass, tick by tick. */
  pass(ms: number): void {
    for (const end = this.now.ms + ms; this.now.ms < end; ) {
      const step = Math.min(1_000, end - this.now.ms);
      this.now = { ms: this.now.ms + step, wall: this.now.wall + step };
      this.run(this.machine.tick(this.now));
    }
  }

  #perform(action: Action | AsAction): void {
    switch (action.do) {
      case 'load':
      case 'save':
      case 'hash':
        if (this.hold(action)) this.pending.push(action);
        else this.answer(action);
        break;
      case 'send': {
        const name = formatEndpoint(action.to);
        this.sent.set(name, [...(this.sent.get(name) ?? []), action.datagram]);
        break;
      }
      case 'close':
        this.ended.add(formatEndpoint(action.connection));
        break;
      case 'count':
        this.#count(action.name);
        break;
      case 'drop':
        this.#count(`drop-${action.reason}`);
        break;
      case 'log':
        this.logs.push({ level: action.level, message: action.message, fields: action.fields });
        break;
      case 'wake':
      case 'believe':
        break;
    }
  }

  #count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}

export type LoginWords = {
  readonly authType?: number;
  readonly password?: Uint8Array;
  readonly certificate?: Uint8Array;
  readonly exporter?: Uint8Array;
  readonly transactionId?: number;
};

export class Connection {
  readonly bench: AsBench;
  readonly endpoint: Endpoint;
  readonly exporter: Uint8Array;
  #transactions = 0;

  constructor(bench: AsBench, endpoint: Endpoint, exporter: Uint8Array) {
    this.bench = bench;
    this.endpoint = endpoint;
    this.exporter = exporter;
  }

  get closed(): boolean {
    return this.bench.ended.has(formatEndpoint(this.endpoint));
  }

  /** What came back, decoded. */
  get answers(): MessageOf<'loginResponse'>[] {
    return (this.bench.sent.get(formatEndpoint(this.endpoint)) ?? []).map((octets) => {
      const message = decodePlain(octets);
      if (typeof message === 'string' || message.type !== 'loginResponse') throw new RangeError('no login response');
      return message;
    });
  }

  request(deviceId: string, identity: Identity, words: LoginWords = {}): Uint8Array {
    const { authType = AuthType.password, password = secretOf(deviceId), exporter = this.exporter } = words;
    return encodePlain({
      type: 'loginRequest',
      id: NO_ID,
      transactionId: words.transactionId ?? ++this.#transactions,
      body: {
        applicationId: NO_ID,
        authType,
        execMode: ExecMode.dual,
        deviceId,
        password: authType === AuthType.certificate ? new Uint8Array(0) : password,
        certificate: words.certificate ?? new Uint8Array(0),
      },
      options: { identity: { ...publicIdentity(identity), signature: signLogin(primitives, identity, exporter) } },
    });
  }

  receive(octets: Uint8Array): void {
    this.bench.run(this.bench.machine.receive(octets, this.endpoint, this.bench.now));
  }

  /** Sends a Login Request; the name of the refusal, `accepted`, or null while nothing came back. */
  login(deviceId: string, identity: Identity, words: LoginWords = {}): string | null {
    const before = this.answers.length;
    this.receive(this.request(deviceId, identity, words));
    const answer = this.answers[before];
    return answer === undefined ? null : outcomeOf(answer);
  }

  acknowledge(answer = this.answers.at(-1)!): void {
    this.receive(encodePlain({ type: 'ack', id: answer.id, transactionId: answer.transactionId, body: {} }));
  }

  close(): void {
    this.bench.run(this.bench.machine.closed(this.endpoint));
  }
}

export function outcomeOf({ options, flags }: MessageOf<'loginResponse'>): string {
  if ((flags & 1) === 0) return 'accepted';
  return Object.entries(Refusal).find(([, value]) => value === options.refusal?.reason)?.[0] ?? 'unknown';
}

export const newIdentity = () => generateIdentity(primitives);

/** A device whose first login is acknowledged. */
export async function enrolled(bench: AsBench, deviceId: string, keys: Identity, more = {}): Promise<Connection> {
  await bench.addDevice(deviceId, more);
  const connection = bench.connect();
  expect(connection.login(deviceId, keys)).toBe('accepted');
  connection.acknowledge();
  return connection;
}

/** Exactly one counter, one line in the log, the answer, and a register as before. */
export async function expectRefused(bench: AsBench, reason: string, attempt: () => string | null): Promise<void> {
  const before = { list: await bench.register.list(), revision: await bench.register.revision() };
  const counts = new Map(bench.counts);
  const lines = bench.logs.length;
  expect(attempt()).toBe(reason);
  expect({ list: await bench.register.list(), revision: await bench.register.revision() }).toEqual(before);
  const grown = [...bench.counts].filter(([name, count]) => count !== (counts.get(name) ?? 0));
  expect(grown).toEqual([[`login-refused-${reason}`, (counts.get(`login-refused-${reason}`) ?? 0) + 1]]);
  if (reason !== 'overloaded') expect(bench.logs[lines]?.level).toBe('warn');
  expect(bench.logs.slice(lines)).toMatchObject([{ message: 'login refused', fields: { reason } }]);
}
