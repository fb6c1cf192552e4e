/** Administration on the register itself: checks what is asked, makes secrets and enrolment tokens. */

import { randomBytes } from 'node:crypto';
import { isGroupName, namesFit } from '../crypto/certificate.ts';
import { readCertificates } from '../crypto/certificate-path.ts';
import { certifyTlsServer, tlsRootHash } from '../crypto/tls-certificate.ts';
import { encodeToken } from '../crypto/token.ts';
import { type Device, fqdnOf, isDeviceId, type NewDevice } from '../lib/device.ts';
import { CyphonicError, raise } from '../lib/errors.ts';
import { canonicalMac } from '../lib/mac.ts';
import { ENROLMENT_TOKEN_MS } from '../proto/constants.ts';
import { hashSecret } from '../store/password.ts';
import { type Author, LOCAL, type Register } from '../store/register.ts';
import { type Administration, type DeviceRequest, toView, type WithToken } from './administration.ts';
import { type NetworkFile, readText, readTlsRoot } from './network-files.ts';
import { serviceNames } from './service-names.ts';

/** Whoever runs a command on this machine. */
export function localAuthor(): Author {
  return `${LOCAL}:uid=${process.getuid?.()}`;
}

export function administer(register: Register, file: NetworkFile, by: Author): Administration {
  const find = async (deviceId: string): Promise<Device> => {
    const answer = await register.query({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
    const device = answer.got === 'device' ? answer.device : null;
    return device ?? raise('REGISTER_UNKNOWN_DEVICE', { deviceId });
  };
  const withToken = (device: Device, secret: Uint8Array | null): WithToken => ({
    ...toView(device),
    token: tokenOf(file, device, secret),
  });
  return {
    async list({ after, limit, adapter }) {
      // One more than asked for tells whether there is a next page.
      const found = await register.list({ after, limit: limit + 1, ...(adapter !== undefined && { adapter }) });
      const items = found.slice(0, limit).map((device) => toView(device));
      return { items, next: found.length > limit ? items.at(-1)!.deviceId : null };
    },
    get: async (deviceId) => toView(await find(deviceId)),
    async add(request) {
      const { given, secret } = await newDevice(request, file.network.domain);
      const added = await register.add(given, by);
      return added.kind === 'general' ? toView(added) : withToken(added, secret);
    },
    async certify(deviceId, publicKey) {
      const device = await find(deviceId);
      const certificate = await certify(file, device, publicKey);
      await register.note('certify', device.deviceId, by);
      return { certificate };
    },
    async remove(deviceId) {
      const removed = await find(deviceId);
      await register.remove(deviceId, by);
      return toView(removed);
    },
    setEnabled: async (deviceId, enabled) => toView(await register.setEnabled(deviceId, enabled, by)),
    async renewToken(deviceId) {
      const { auth } = await find(deviceId);
      const secret = auth === 'password' ? null : await newSecret();
      return withToken(await register.renewSecret(deviceId, secret, by), secret?.octets ?? null);
    },
    async audit({ before, limit }) {
      const found = await register.audit(before, limit + 1);
      const items = found.slice(0, limit).map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() }));
      return { items, next: found.length > limit ? items.at(-1)!.number : null };
    },
  };
}

/** An adapter asks for a new one long before this; a stolen key is worth nothing after it. */
const ADAPTER_CERTIFICATE_DAYS = 30;

async function certify(file: NetworkFile, { kind, deviceId, fqdn }: Device, publicKey: string): Promise<string> {
  if (kind !== 'adapter') refuse('deviceId', deviceId, 'it is no adapter');
  const { domain } = file.network;
  // Whoever holds a certificate of this name is believed to be the cloud.
  if (Object.values(serviceNames(domain)).includes(fqdn)) {
    refuse('deviceId', deviceId, `${fqdn} is a name of the cloud itself`);
  }
  const key = new Uint8Array(Buffer.from(publicKey, 'base64'));
  const days = ADAPTER_CERTIFICATE_DAYS;
  try {
    return await certifyTlsServer(readTlsRoot(file), key, { names: [fqdn], wall: Date.now(), days });
  } catch (cause) {
    if (cause instanceof CyphonicError) throw cause;
    return raise('USAGE_VALUE', { option: 'publicKey', value: '(given)', why: 'it is no P-256 key' }, cause);
  }
}

async function newDevice(
  request: DeviceRequest,
  domain: string,
): Promise<{ given: NewDevice; secret: Uint8Array | null }> {
  const { deviceId, adapter, mode } = request;
  const general = adapter !== null;
  if (!isDeviceId(deviceId)) refuse('ID', deviceId, 'use letters, digits and hyphens, 63 at most');
  const groups = [...new Set(request.groups)];
  const wrong = groups.find((group) => !isGroupName(group));
  if (wrong !== undefined) refuse('--group', wrong, 'use lower-case letters, digits, dots and hyphens, 32 at most');
  if (!namesFit(fqdnOf(deviceId, domain), groups)) {
    refuse('--group', groups.join(' '), 'a certificate has no room for so many groups');
  }
  if (!general) {
    for (const name of ['mac', 'auth', 'ca'] as const) {
      if (request[name] !== null) refuse(`--${name}`, request[name], 'it needs --adapter');
    }
  }
  const auth = general ? (request.auth ?? 'mac') : request.password === null ? 'token' : 'password';
  const password = checkPassword(request, auth);
  const trustedCa = checkTrustedCa(request, auth);
  const mac = general ? checkMac(request.mac) : null;
  const secret = auth === 'token' ? await newSecret() : null;
  const secretHash = secret?.hash ?? (password === null ? null : await hashSecret(password));
  const secretExpires = secret?.expires ?? null;
  return {
    given: { deviceId, groups, adapter, mac, auth, mode, secretHash, secretExpires, trustedCa },
    secret: secret?.octets ?? null,
  };
}

async function newSecret(): Promise<{ octets: Uint8Array; hash: string; expires: number }> {
  const octets = new Uint8Array(randomBytes(16));
  return { octets, hash: await hashSecret(octets), expires: Date.now() + ENROLMENT_TOKEN_MS };
}

function tokenOf(file: NetworkFile, { deviceId }: Device, secret: Uint8Array | null): string {
  return encodeToken({
    as4: file.address4,
    as6: file.address6,
    port: file.asPort,
    caKey: file.caPublicKey,
    rootHash: tlsRootHash(readText(file.tlsRootFile)),
    domain: file.network.domain,
    deviceId,
    secret,
  });
}

function checkPassword({ password }: DeviceRequest, auth: NewDevice['auth']): Uint8Array | null {
  if (auth !== 'password') {
    return password === null ? null : refuse('--password-file', '(given)', 'it needs --auth password');
  }
  if (password === null) return refuse('--auth', auth, 'it needs --password-file');
  return new TextEncoder().encode(password);
}

function checkMac(text: string | null): string {
  if (text === null) return refuse('--mac', '(none)', 'a general node needs one');
  const why = 'it is no MAC address of one device; use one like 02:00:00:00:00:01';
  return canonicalMac(text) ?? refuse('--mac', text, why);
}

function checkTrustedCa({ ca }: DeviceRequest, auth: NewDevice['auth']): string | null {
  if (auth !== 'certificate') return ca === null ? null : refuse('--ca', '(given)', 'it needs --auth certificate');
  if (ca === null) return refuse('--auth', auth, 'it needs --ca');
  const certificates = readCertificates(ca);
  if (certificates === null) return refuse('--ca', '(given)', 'it holds no PEM certificate');
  const other = certificates.find((certificate) => !certificate.ca);
  return other === undefined ? ca : refuse('--ca', other.subject.replaceAll('\n', ', '), 'it is not a CA');
}

function refuse(option: string, value: string, why: string): never {
  return raise('USAGE_VALUE', { option, value, why });
}
