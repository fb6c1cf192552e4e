/** Administration through a controller: what it refuses is raised as the error that the register itself would raise. */

import { Agent, request } from 'node:https';
import { checkServerIdentity, type PeerCertificate, type TLSSocket } from 'node:tls';
import { type Identity, signController } from '../crypto/identity.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { makeTlsKey, type TlsIdentity } from '../crypto/tls-certificate.ts';
import { CyphonicError, raise } from '../lib/errors.ts';
import { CONTROLLER_EXPORTER_LABEL } from '../proto/constants.ts';
import {
  type Administration,
  type AuditPage,
  type DevicePage,
  type DeviceView,
  listAll,
  type WithToken,
} from './administration.ts';

export type ControllerAccess = {
  readonly url: string;
  /** PEM of the network's TLS root: the only one that is believed. */
  readonly root: string;
  readonly token: string;
};

/** What the controller may blame on the caller. */
const believed = /^(REGISTER_|USAGE_VALUE$)/;
const TIMEOUT_MS = 15_000;
const MAX_ANSWER = 16 * 1024 * 1024;

export function administerThrough(access: ControllerAccess): Administration & { close(): void } {
  const base = parseUrl(access.url);
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 1,
    ca: access.root,
    minVersion: 'TLSv1.3',
    checkServerIdentity: checkController,
  });
  const ask = async <T>(method: string, path: string, body?: object): Promise<T> => {
    const authorization = `Bearer ${access.token}`;
    return readAnswer<T>(access.url, await exchange(base, { agent, authorization, method, path, body }));
  };
  const one = (deviceId: string): string => `/v1/devices/${encodeURIComponent(deviceId)}`;
  return {
    list: (page) => ask<DevicePage>('GET', `/v1/devices${search(page)}`),
    get: (deviceId) => ask<DeviceView>('GET', one(deviceId)),
    add: (device) => ask<DeviceView | WithToken>('POST', '/v1/devices', device),
    remove: (deviceId) => ask<DeviceView>('DELETE', one(deviceId)),
    setEnabled: (deviceId, enabled) => ask<DeviceView>('POST', `${one(deviceId)}/${enabled ? 'enable' : 'disable'}`),
    renewToken: (deviceId) => ask<WithToken>('POST', `${one(deviceId)}/token`),
    certify: (deviceId, publicKey) => ask('POST', `${one(deviceId)}/certificate`, { publicKey }),
    audit: (page) => ask<AuditPage>('GET', `/v1/audit${search(page)}`),
    close: () => agent.destroy(),
  };
}

export type AdapterAccess = {
  /** For messages. */
  readonly url: string;
  /** A new connection to the controller, which has proved itself. */
  readonly connect: () => Promise<TLSSocket>;
  readonly deviceId: string;
  readonly identity: Identity;
  readonly primitives: Primitives;
};

/** The general nodes of an adapter. */
export function listGeneralNodes(access: AdapterAccess): Promise<DeviceView[]> {
  const adapter = access.deviceId;
  return listAll({ list: (page) => askAsAdapter(access, 'GET', `/v1/devices${search({ ...page, adapter })}`) });
}

/** Key and certificate by which an adapter speaks TLS to its general nodes: new ones, for some weeks. */
export async function certifyAdapter(access: AdapterAccess): Promise<TlsIdentity> {
  const { publicKey, privateKey } = await makeTlsKey();
  const body = { publicKey: Buffer.from(publicKey).toString('base64') };
  const path = `/v1/devices/${access.deviceId}/certificate`;
  const { certificate } = await askAsAdapter<{ certificate: string }>(access, 'POST', path, body);
  return { certificate, privateKey };
}

/** The adapter proves itself by its pinned key, on a connection for this one request. */
async function askAsAdapter<T>(access: AdapterAccess, method: string, path: string, body?: object): Promise<T> {
  const { url, connect, deviceId, identity, primitives } = access;
  const base = parseUrl(url);
  const socket = await connect();
  try {
    const exporter = socket.exportKeyingMaterial(32, CONTROLLER_EXPORTER_LABEL, Buffer.alloc(0));
    const proof = Buffer.from(signController(primitives, identity, exporter)).toString('base64url');
    const authorization = `Cyphonic-Adapter ${deviceId}:${proof}`;
    const answer = await exchange(base, { createConnection: () => socket, authorization, method, path, body });
    return readAnswer<T>(url, answer);
  } finally {
    socket.destroy();
  }
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  const plain = url?.protocol === 'https:' && url.pathname === '/' && url.search === '' && url.username === '';
  if (plain) return url;
  return raise('USAGE_VALUE', {
    option: '--controller',
    value: text,
    why: 'use one like https://198.51.100.10:7443',
  });
}

/** A network's root signs for its own services only, so that the controller's name is proof enough at any address. */
function checkController(host: string, certificate: PeerCertificate): Error | undefined {
  const names = (certificate.subjectaltname ?? '').split(', ');
  return names.some((name) => name.startsWith('DNS:controller.')) ? undefined : checkServerIdentity(host, certificate);
}

function search(page: Readonly<Record<string, string | number | null | undefined>>): string {
  const given = Object.entries(page).filter(([, value]) => value !== null && value !== undefined);
  return given.length === 0 ? '' : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

type Exchange = {
  readonly agent?: Agent;
  readonly createConnection?: () => TLSSocket;
  readonly authorization: string;
  readonly method: string;
  readonly path: string;
  readonly body?: object | undefined;
};
type Answer = { readonly status: number; readonly text: string };

function exchange(base: URL, { authorization, path, body, ...how }: Exchange): Promise<Answer> {
  const content = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      const why =
        cause instanceof CyphonicError ? 'no answer' : ((cause as NodeJS.ErrnoException).code ?? String(cause));
      reject(new CyphonicError('SYS_CONTROLLER', { url: base.origin, why }, cause));
    };
    let sent: ReturnType<typeof request>;
    try {
      sent = request(new URL(path, base), {
        ...how,
        timeout: TIMEOUT_MS,
        headers: {
          Authorization: authorization,
          ...(content !== undefined && {
            'Content-Type': 'application/json',
            'Content-Length': Buffer.byteLength(content),
          }),
        },
      });
    } catch (cause) {
      // A token with a line end or other characters that no header may hold.
      fail(cause);
      return;
    }
    sent.on('timeout', () => sent.destroy(new CyphonicError('SYS_CONTROLLER', { url: base.origin, why: 'no answer' })));
    sent.on('error', fail);
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER) response.destroy(new CyphonicError('PEER_INVALID', { what: 'too long an answer' }));
        else chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    sent.end(content);
  });
}

function readAnswer<T>(url: string, { status, text }: Answer): T {
  let body: { code?: unknown; details?: Record<string, unknown>; detail?: unknown };
  try {
    body = JSON.parse(text);
  } catch (cause) {
    return raise('PEER_INVALID', { what: `an answer of ${url} that is no JSON` }, cause);
  }
  if (status >= 200 && status < 300) return body as T;
  const why = typeof body.detail === 'string' ? body.detail : `status ${status}`;
  if (status === 401 || status === 403) raise('REFUSED_CONTROLLER', { url, why });
  if (typeof body.code === 'string' && believed.test(body.code)) {
    raise(body.code as 'USAGE_VALUE', body.details ?? {});
  }
  return raise('SYS_CONTROLLER', { url, why });
}
