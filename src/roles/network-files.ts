/**
 * The files of a network's directory: cloud.yaml says what the network is and where its other files are, one YAML file per
 * service says what an NMS or TRS is. Paths in them are relative to the file they stand in. Private keys are files of
 * their own, one line of base64 each.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { isFqdn } from '../crypto/certificate.ts';
import type { TlsIdentity } from '../crypto/tls-certificate.ts';
import type { Network, ServiceRole } from '../lib/device.ts';
import { raise } from '../lib/errors.ts';
import {
  type Address,
  canonicalAddress,
  type Family,
  familyOf,
  hostCount,
  isPort,
  type Prefix,
  parsePrefix,
} from '../lib/ip.ts';
import { isPostgresUrl } from '../store/open.ts';
import { isRedisUrl } from '../store/shared.ts';
import { makeDirectories } from './directory.ts';
import { type MetricsAddress, parseMetricsAddress } from './telemetry.ts';

export const NETWORK_FILE = 'cloud.yaml';

export type NetworkFile = {
  readonly network: Network;
  /** Where devices reach the AS; null = not on this family. */
  readonly address4: Address | null;
  readonly address6: Address | null;
  readonly asPort: number;
  readonly controllerPort: number;
  /** Ed25519 public key that verifies node certificates. */
  readonly caPublicKey: Uint8Array;
  readonly caKeyFile: string;
  /** An SQLite file, or the URL of a PostgreSQL database. */
  readonly registerFile: string;
  readonly tlsRootFile: string;
  readonly tlsRootKeyFile: string;
  /** Names, scopes and hashes of the controller's API tokens. */
  readonly apiTokensFile: string;
  /** URL of the Redis where the NMSs share what they know; null = not said. */
  readonly shared: string | null;
  /** Where metrics and health are served; null = not said. */
  readonly metrics: MetricsAddress | null;
  /** Files of the services that `cloud serve` runs beside the AS. */
  readonly serviceFiles: readonly string[];
};

/** One NMS or TRS. */
export type ServiceFile = {
  readonly role: ServiceRole;
  readonly name: string;
  readonly nodeId: string;
  readonly address4: Address | null;
  readonly address6: Address | null;
  readonly port: number;
  /** TCP port where a TRS takes datagrams over TLS, with its certificate and key (PEM); null = it does not. */
  readonly tls: { readonly port: number; readonly certificateFile: string; readonly keyFile: string } | null;
  /** Holds the private service key (X25519). */
  readonly keyFile: string;
  /** An SQLite file, or the URL of a PostgreSQL database. */
  readonly registerFile: string;
  /** URL of the Redis that this service's replicas share; null = there are no others. */
  readonly shared: string | null;
  /** A balancer with address translation leads nodes to replicas, not routing. */
  readonly behindBalancer: boolean;
  readonly noPortPrediction: boolean;
  readonly metrics: MetricsAddress | null;
  readonly network: Network;
};

export function readNetworkFile(file: string): NetworkFile {
  const settings = new Settings(file);
  return settings.finish({
    network: settings.network(),
    ...settings.addresses(),
    asPort: settings.port('as-port'),
    controllerPort: settings.port('controller-port'),
    caPublicKey: settings.key('ca-public-key'),
    caKeyFile: settings.path('ca-key'),
    registerFile: settings.place('register'),
    tlsRootFile: settings.path('tls-root'),
    tlsRootKeyFile: settings.path('tls-root-key'),
    apiTokensFile: settings.path('api-tokens'),
    shared: settings.shared(),
    behindBalancer: settings.yes('behind-balancer'),
    metrics: settings.metrics(),
    serviceFiles: settings.paths('services'),
  });
}

export function readServiceFile(file: string, role?: ServiceRole): ServiceFile {
  const settings = new Settings(file);
  const found = settings.text('role');
  if ((found !== 'nms' && found !== 'trs') || (role !== undefined && found !== role)) {
    settings.fail(`role is ${found}, not ${role ?? 'nms or trs'}`);
  }
  return settings.finish({
    role: found as ServiceRole,
    name: settings.text('name'),
    nodeId: settings.text('node-id', /^[\da-f]{32}$/),
    ...settings.addresses(),
    port: settings.port('port'),
    tls: settings.tls(),
    keyFile: settings.path('key'),
    registerFile: settings.place('register'),
    shared: settings.shared(),
    noPortPrediction: settings.yes('no-port-prediction'),
    behindBalancer: settings.yes('behind-balancer'),
    metrics: settings.metrics(),
    network: settings.network(),
  });
}

/** A private key file; only the role it belongs to calls this. */
export function readKeyFile(file: string): Uint8Array {
  const key = decodeKey(readText(file).trim());
  return key ?? raise('CONFIG_INVALID', { file, why: 'it holds no key of 32 octets in base64' });
}

export function readTlsRoot(file: NetworkFile): TlsIdentity {
  return { certificate: readText(file.tlsRootFile), privateKey: readText(file.tlsRootKeyFile) };
}

export function encodeKey(key: Uint8Array): string {
  return Buffer.from(key).toString('base64');
}

export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    return raise('CONFIG_UNREADABLE', { file, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

/** Writes a file that was not there before, readable only by this process's user. */
export function writeNewFile(file: string, content: string | Uint8Array): void {
  try {
    writeFileSync(file, content, { flag: 'wx', mode: 0o600, flush: true });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') raise('SYS_NOT_EMPTY', { path: file }, cause);
    raise('SYS_WRITE', { file, why: code }, cause);
  }
}

/** An address given as an option. */
export function readAddress(option: string, text: string | undefined, family: Family): Address | null {
  if (text === undefined) return null;
  const address = canonicalAddress(text);
  if (address !== null && familyOf(address) === family) return address;
  return raise('USAGE_VALUE', { option, value: text, why: `it is no IPv${family} address` });
}

/** Makes a directory (0700) that was not there before. */
export function makeNewDirectory(directory: string): void {
  try {
    makeDirectories(dirname(resolve(directory)));
    mkdirSync(directory, { mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') raise('SYS_NOT_EMPTY', { path: directory }, cause);
    raise('SYS_WRITE', { file: directory, why: code }, cause);
  }
}

/** Text of a YAML file, null and empty settings left out. */
export function formatSettings(comment: string, settings: Readonly<Record<string, unknown>>): string {
  const present = Object.entries(settings).filter(([, value]) => value !== null);
  return `# ${comment}\n${stringify(Object.fromEntries(present))}`;
}

export function parseRange(text: string, family: Family): Prefix | null {
  const prefix = parsePrefix(text);
  // Room for the network itself, the gateway, one device and the broadcast address.
  return prefix !== null && familyOf(prefix.address) === family && hostCount(prefix) >= 4 ? prefix : null;
}

function decodeKey(text: string): Uint8Array | null {
  const octets = new Uint8Array(Buffer.from(text, 'base64'));
  return octets.length === 32 && encodeKey(octets) === text ? octets : null;
}

function parseYaml(file: string): object {
  const text = readText(file);
  let content: unknown;
  try {
    content = parse(text);
  } catch (cause) {
    return raise('CONFIG_INVALID', { file, why: (cause as Error).message.split('\n')[0] }, cause);
  }
  if (typeof content === 'object' && content !== null && !Array.isArray(content)) return content;
  return raise('CONFIG_INVALID', { file, why: 'it holds no settings' });
}

/** Reads a file's settings one by one; what is missing, wrong or left over ends in one error. */
class Settings {
  readonly #file: string;
  readonly #values: Map<string, unknown>;

  constructor(file: string) {
    this.#file = file;
    this.#values = new Map(Object.entries(parseYaml(file)));
  }

  fail(why: string): never {
    return raise('CONFIG_INVALID', { file: this.#file, why });
  }

  finish<T>(read: T): T {
    const [unknown] = this.#values.keys();
    if (unknown !== undefined) this.fail(`there is no setting "${unknown}"`);
    return read;
  }

  text(name: string, pattern = /./): string {
    const value = this.#take(name);
    return typeof value === 'string' && pattern.test(value) ? value : this.fail(`"${name}" is missing or wrong`);
  }

  port(name: string): number {
    const value = this.#take(name);
    if (isPort(value)) return value;
    return this.fail(`"${name}" is no port number`);
  }

  path(name: string): string {
    return resolve(dirname(this.#file), this.text(name));
  }

  paths(name: string): string[] {
    const value = this.#take(name) ?? [];
    if (!Array.isArray(value)) return this.fail(`"${name}" is no list`);
    return value.map((path) => join(dirname(this.#file), String(path)));
  }

  /** A path or the URL of a database. */
  place(name: string): string {
    const text = this.text(name);
    return isPostgresUrl(text) ? text : resolve(dirname(this.#file), text);
  }

  key(name: string): Uint8Array {
    return decodeKey(this.text(name)) ?? this.fail(`"${name}" is no key of 32 octets in base64`);
  }

  shared(): string | null {
    if (!this.#values.has('shared')) return null;
    const url = this.text('shared');
    return isRedisUrl(url) ? url : this.fail('"shared" is no URL like redis://HOST:PORT or unix:///SOCKET');
  }

  /** A switch that is off where nothing is said. */
  yes(name: string): boolean {
    const value = this.#take(name) ?? false;
    return typeof value === 'boolean' ? value : this.fail(`"${name}" is neither true nor false`);
  }

  metrics(): MetricsAddress | null {
    if (!this.#values.has('metrics')) return null;
    return parseMetricsAddress(this.text('metrics')) ?? this.fail('"metrics" is no ADDRESS:PORT and not off');
  }

  tls(): ServiceFile['tls'] {
    if (!this.#values.has('tls-port')) return null;
    const port = this.port('tls-port');
    return { port, certificateFile: this.path('tls-certificate'), keyFile: this.path('tls-key') };
  }

  addresses(): { address4: Address | null; address6: Address | null } {
    const found = { address4: this.#address('address', 4), address6: this.#address('address6', 6) };
    return (found.address4 ?? found.address6) === null ? this.fail('"address" and "address6" are both missing') : found;
  }

  network(): Network {
    return {
      domain: this.#matching('domain', isFqdn, 'domain name in lower case'),
      range4: this.#range('vip4', 4),
      range6: this.#range('vip6', 6),
    };
  }

  #take(name: string): unknown {
    const value = this.#values.get(name);
    this.#values.delete(name);
    return value;
  }

  #matching(name: string, test: (text: string) => boolean, what: string): string {
    const text = this.text(name);
    return test(text) ? text : this.fail(`"${name}" is no ${what}`);
  }

  #range(name: string, family: Family): Prefix {
    return parseRange(this.text(name), family) ?? this.fail(`"${name}" is no IPv${family} range with room for devices`);
  }

  #address(name: string, family: Family): Address | null {
    const value = this.#take(name);
    if (value === undefined) return null;
    const address = canonicalAddress(String(value));
    if (address !== null && familyOf(address) === family) return address;
    return this.fail(`"${name}" is no IPv${family} address`);
  }
}
