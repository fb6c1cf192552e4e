/** Makes a new network: its certificate authorities, register, services and their keys. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join, resolve } from 'node:path';
import { isFqdn } from '../../crypto/certificate.ts';
import { nodePrimitives } from '../../crypto/node.ts';
import { issueTlsServer, makeTlsRoot, SERVICE_DAYS, type TlsIdentity } from '../../crypto/tls-certificate.ts';
import type { Network, ServiceRole } from '../../lib/device.ts';
import { raise } from '../../lib/errors.ts';
import { type Address, contains, type Family, familyOf, formatPrefix, isLinkLocal } from '../../lib/ip.ts';
import type { Register } from '../../store/register.ts';
import { createSqlite, openSqlite } from '../../store/sqlite.ts';
import { evpAead } from '../../sys/evp.ts';
import { API_TOKEN_FILE, formatTokens, makeToken } from '../controller/tokens.ts';
import { makeDirectories } from '../directory.ts';
import { encodeKey, formatSettings, NETWORK_FILE, parseRange, readAddress, writeNewFile } from '../network-files.ts';
import { serviceNames } from '../service-names.ts';

export type InitOptions = {
  readonly dir: string;
  readonly domain: string;
  readonly address?: string;
  readonly address6?: string;
  readonly vip4: string;
  readonly vip6?: string;
  readonly asPort: string;
  readonly nmsPort: string;
  readonly trsPort: string;
  readonly trsTlsPort: string;
  readonly controllerPort: string;
};

type Addresses = { readonly address4: Address | null; readonly address6: Address | null };

const REGISTER_FILE = 'register.db';
const primitives = nodePrimitives(evpAead);

/** Returns where devices will reach the cloud. */
export async function initNetwork(options: InitOptions): Promise<Addresses> {
  const network = readNetwork(options);
  const addresses = readAddresses(options, network);
  const port = {
    as: readPort(options, 'asPort'),
    nms: readPort(options, 'nmsPort'),
    trs: readPort(options, 'trsPort'),
    controller: readPort(options, 'controllerPort'),
  };
  const trsTlsPort = readTlsPort('--trs-tls-port', options.trsTlsPort);
  const tlsRoot = await makeTlsRoot(network.domain, Date.now());
  const ca = primitives.ed25519Generate();
  const admin = makeToken('admin', 'admin');

  const directory = resolve(options.dir);
  const files = new Map([
    ['ca.key', `${encodeKey(ca.privateKey)}\n`],
    ['tls-root.pem', tlsRoot.certificate],
    ['tls-root.key', tlsRoot.privateKey],
    // The token itself is for the administrator to take away.
    [API_TOKEN_FILE, `${admin.token}\n`],
    ['api-tokens', formatTokens([admin.entry])],
  ]);
  const services = ['nms.key', 'nms.yaml', 'trs.key', 'trs.tls.pem', 'trs.tls.key', 'trs.yaml'];
  const names = [...files.keys(), REGISTER_FILE, ...services, NETWORK_FILE];
  const present = names.find((name) => existsSync(join(directory, name)));
  if (present !== undefined) raise('SYS_NOT_EMPTY', { path: join(directory, present) });

  prepareDirectory(directory);
  try {
    for (const [name, content] of files) writeNewFile(join(directory, name), content);
    createSqlite(join(directory, REGISTER_FILE));
    const register = openSqlite(join(directory, REGISTER_FILE), network);
    for (const role of ['nms', 'trs'] as const) {
      const tls = role === 'nms' || trsTlsPort === null ? null : { port: trsTlsPort, root: tlsRoot };
      await makeService(directory, register, network, { role, name: role, ...addresses, port: port[role], tls });
    }
    await register.close();
    // Last: a directory with this file is a whole network.
    const settings = {
      ...networkSettings(network),
      ...addressSettings(addresses),
      'as-port': port.as,
      'controller-port': port.controller,
      'ca-public-key': encodeKey(ca.publicKey),
      'ca-key': 'ca.key',
      'tls-root': 'tls-root.pem',
      'tls-root-key': 'tls-root.key',
      'api-tokens': 'api-tokens',
      register: REGISTER_FILE,
      services: ['nms.yaml', 'trs.yaml'],
    };
    writeNewFile(join(directory, NETWORK_FILE), formatSettings('A CYPHONIC network.', settings));
  } catch (error) {
    for (const name of names) rmSync(join(directory, name), { force: true });
    throw error;
  }
  return addresses;
}

export type NewService = Addresses & {
  readonly role: ServiceRole;
  readonly name: string;
  readonly port: number;
  /** A TRS that takes datagrams over TLS: where, and the root that its certificate is to be under. */
  readonly tls: { readonly port: number; readonly root: TlsIdentity } | null;
};

/** Gives a service its keys and configuration and registers it; returns its configuration file. */
export async function makeService(
  directory: string,
  register: Register,
  network: Network,
  { role, name, address4, address6, port, tls }: NewService,
): Promise<string> {
  const keys = primitives.x25519Generate();
  const nodeId = randomBytes(16).toString('hex');
  const settings = {
    role,
    name,
    'node-id': nodeId,
    ...addressSettings({ address4, address6 }),
    port,
    key: `${name}.key`,
    ...(tls !== null && { 'tls-port': tls.port, 'tls-certificate': `${name}.tls.pem`, 'tls-key': `${name}.tls.key` }),
    register: REGISTER_FILE,
    ...networkSettings(network),
  };
  const file = join(directory, `${name}.yaml`);
  writeNewFile(file, formatSettings(`Start this service with: cyphonic ${role} serve --config ${name}.yaml`, settings));
  writeNewFile(join(directory, `${name}.key`), `${encodeKey(keys.privateKey)}\n`);
  if (tls !== null) {
    const issued = await issueTlsServer(tls.root, [serviceNames(network.domain).trs], [], Date.now(), SERVICE_DAYS);
    writeNewFile(join(directory, `${name}.tls.pem`), issued.certificate);
    writeNewFile(join(directory, `${name}.tls.key`), issued.privateKey);
  }
  const tlsPort = tls?.port ?? null;
  await register.putService({ name, role, nodeId, publicKey: keys.publicKey, address4, address6, port, tlsPort });
  return file;
}

/** An address given as an option; null if it was not given. */
export function readPortNumber(option: string, text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port > 0 && port < 65_536) return port;
  return raise('USAGE_VALUE', { option, value: text, why: 'a port is a number from 1 to 65535' });
}

/** Null: off. */
export function readTlsPort(option: string, text: string): number | null {
  return text === 'off' ? null : readPortNumber(option, text);
}

function readPort(options: InitOptions, name: 'asPort' | 'nmsPort' | 'trsPort' | 'controllerPort'): number {
  return readPortNumber(`--${name.replace('Port', '-port')}`, options[name]);
}

function readNetwork({ domain, vip4, vip6 }: InitOptions): Network {
  const lower = domain.toLowerCase().replace(/\.$/, '');
  // The first label and its dot take up to 64 of the 253 octets of a name (RFC 1035 section 2.3.4).
  if (!isFqdn(lower) || lower.length > 189) {
    raise('USAGE_VALUE', { option: '--domain', value: domain, why: 'it is no domain name; use one like lab.example' });
  }
  const range = (option: string, text: string, family: Family) =>
    parseRange(text, family) ??
    raise('USAGE_VALUE', { option, value: text, why: `it is no IPv${family} range with room for devices` });
  return { domain: lower, range4: range('--vip4', vip4, 4), range6: range('--vip6', vip6 ?? randomRange6(), 6) };
}

/** A unique local /64 of random global identifier (RFC 4193 section 3.2). */
function randomRange6(): string {
  const id = randomBytes(5).toString('hex');
  return `fd${id.slice(0, 2)}:${id.slice(2, 6)}:${id.slice(6)}::/64`;
}

function readAddresses(options: InitOptions, network: Network): Addresses {
  const address4 = readAddress('--address', options.address, 4);
  const address6 = readAddress('--address6', options.address6, 6);
  const addresses = (address4 ?? address6) === null ? ownAddresses() : { address4, address6 };
  for (const address of [addresses.address4, addresses.address6]) {
    const range = [network.range4, network.range6].find((r) => address !== null && contains(r, address));
    if (range === undefined) continue;
    const why = `it lies in the overlay's range ${formatPrefix(range)}; choose another range with --vip4 or --vip6`;
    raise('USAGE_VALUE', { option: '--address', value: address, why });
  }
  return addresses;
}

/** This host's first address of each family that others may reach it at. */
function ownAddresses(): Addresses {
  const usable = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !isLinkLocal(address));
  const first = (family: Family) => usable.find(({ address }) => familyOf(address) === family)?.address ?? null;
  const found = { address4: first(4), address6: first(6) };
  if ((found.address4 ?? found.address6) !== null) return found;
  const why = 'this host has no address to be reached at; give one';
  return raise('USAGE_VALUE', { option: '--address', value: '(none)', why });
}

function networkSettings({ domain, range4, range6 }: Network): Record<string, string> {
  return { domain, vip4: formatPrefix(range4), vip6: formatPrefix(range6) };
}

function addressSettings({ address4, address6 }: Addresses): Record<string, string | null> {
  return { address: address4, address6 };
}

function prepareDirectory(directory: string): void {
  try {
    makeDirectories(directory);
    chmodSync(directory, 0o700);
  } catch (cause) {
    raise('SYS_WRITE', { file: directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}
