/** Everything the controller can be asked: each route declared once, for the router and for the OpenAPI document. */

import { auditActions } from '../../lib/device.ts';
import { type Administration, type DeviceRequest, MAX_PAGE } from '../administration.ts';
import type { PeerPage, PeerRequest } from './peers.ts';
import { nullable, ref, type Schema, type Schemas } from './schema.ts';
import type { Scope } from './tokens.ts';

export type Caller =
  | { readonly kind: 'token'; readonly name: string; readonly scope: Scope }
  /** Proved its identity; sees itself and its own general nodes. */
  | { readonly kind: 'adapter'; readonly deviceId: string };

export type ApiRequest = {
  readonly devices: Administration;
  peers(nodeId: string, page: PeerRequest): Promise<PeerPage>;
  /** The DeviceID in the path. */
  readonly deviceId: string;
  readonly query: Readonly<Record<string, string | number>>;
  readonly body: unknown;
};

export type Route = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** `{deviceId}` stands for a DeviceID. */
  readonly path: string;
  readonly summary: string;
  readonly scope: Scope;
  /** Adapters may ask as well, for what is theirs. */
  readonly adapters?: true;
  readonly query?: Readonly<Record<string, Schema>>;
  readonly body?: Schema;
  readonly status: 200 | 201;
  readonly result: Schema;
  answer(request: ApiRequest): Promise<unknown>;
};

const text: Schema = { type: 'string' };
const address = nullable({ type: 'string', maxLength: 45 });
const modes = ['dual', 'ipv4', 'ipv6'] as const;

const deviceFields = {
  deviceId: text,
  nodeId: { type: 'string', minLength: 32, maxLength: 32 },
  fqdn: text,
  vip4: address,
  vip6: address,
  groups: { type: 'array', items: text },
  kind: { type: 'string', enum: ['node', 'adapter', 'general'] },
  adapter: nullable(text),
  mac: nullable(text),
  auth: { type: 'string', enum: ['token', 'password', 'mac', 'certificate'] },
  mode: { type: 'string', enum: modes },
  state: { type: 'string', enum: ['new', 'enrolled', 'disabled'] },
  online: { type: 'boolean', description: 'Heard of within the last 90 seconds.' },
  lastSeen: nullable({ type: 'string', format: 'date-time' }),
} as const satisfies Record<string, Schema>;

const exactly = (properties: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const pageOf = (item: string, next: Schema): Schema =>
  exactly({ items: { type: 'array', items: ref(item) }, next: nullable(next) });

export const schemas: Schemas = {
  Device: exactly(deviceFields),
  DeviceWithToken: exactly({
    ...deviceFields,
    token: { type: 'string', description: 'Enrolment token; shown this once.' },
  }),
  NewDevice: {
    type: 'object',
    properties: {
      deviceId: { type: 'string', minLength: 1, maxLength: 63 },
      groups: { type: 'array', items: { type: 'string', maxLength: 32 }, maxItems: 8 },
      adapter: nullable({ type: 'string', maxLength: 63 }),
      mac: nullable({ type: 'string', maxLength: 17 }),
      auth: nullable({ type: 'string', enum: ['mac', 'password', 'certificate'] }),
      mode: { type: 'string', enum: modes },
      password: nullable({ type: 'string', minLength: 1, maxLength: 1024 }),
      ca: nullable({ type: 'string', maxLength: 32_768 }),
    },
    required: ['deviceId'],
    additionalProperties: false,
  },
  KeyToCertify: exactly({
    publicKey: { ...text, minLength: 1, maxLength: 1024, description: 'P-256, SPKI in base64.' },
  }),
  DevicePage: pageOf('Device', { ...text, description: 'Give it as `after` for the next page.' }),
  PeerPage: pageOf('Device', { ...text, description: 'Give it as `after` for the next page.' }),
  AuditEntry: exactly({
    number: { type: 'integer' },
    at: { type: 'string', format: 'date-time' },
    by: text,
    action: { type: 'string', enum: auditActions },
    subject: text,
  }),
  AuditPage: pageOf('AuditEntry', { type: 'integer', description: 'Give it as `before` for the next page.' }),
  Problem: {
    type: 'object',
    properties: {
      type: { ...text, format: 'uri' },
      title: text,
      status: { type: 'integer' },
      detail: text,
      code: text,
      details: { type: 'object', properties: {}, additionalProperties: true },
    },
    required: ['type', 'title', 'status', 'detail'],
    additionalProperties: true,
  },
};

const limit: Schema = { type: 'integer', minimum: 1, maximum: MAX_PAGE, default: 100 };

const one = '/v1/devices/{deviceId}';

export const routes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/devices',
    summary: 'Devices by DeviceID, a page at a time.',
    scope: 'read',
    adapters: true,
    query: { after: { ...text, maxLength: 63 }, limit, adapter: { ...text, maxLength: 63 } },
    status: 200,
    result: ref('DevicePage'),
    answer: ({ devices, query }) =>
      devices.list({
        after: (query.after as string | undefined) ?? null,
        limit: query.limit as number,
        ...(query.adapter !== undefined && { adapter: query.adapter as string }),
      }),
  },
  {
    method: 'POST',
    path: '/v1/devices',
    summary: 'Register a device; without an adapter the answer has its enrolment token.',
    scope: 'admin',
    body: ref('NewDevice'),
    status: 201,
    result: { anyOf: [ref('DeviceWithToken'), ref('Device')] },
    answer: ({ devices, body }) => devices.add({ ...unsaid, ...(body as Partial<DeviceRequest>) } as DeviceRequest),
  },
  {
    method: 'GET',
    path: one,
    summary: 'One device.',
    scope: 'read',
    adapters: true,
    status: 200,
    result: ref('Device'),
    answer: ({ devices, deviceId }) => devices.get(deviceId),
  },
  {
    method: 'DELETE',
    path: one,
    summary: 'Take a device out for good; the answer is what it was.',
    scope: 'admin',
    status: 200,
    result: ref('Device'),
    answer: ({ devices, deviceId }) => devices.remove(deviceId),
  },
  {
    method: 'POST',
    path: `${one}/disable`,
    summary: 'Refuse its logins and close its tunnels.',
    scope: 'admin',
    status: 200,
    result: ref('Device'),
    answer: ({ devices, deviceId }) => devices.setEnabled(deviceId, false),
  },
  {
    method: 'POST',
    path: `${one}/enable`,
    summary: 'Undo disable.',
    scope: 'admin',
    status: 200,
    result: ref('Device'),
    answer: ({ devices, deviceId }) => devices.setEnabled(deviceId, true),
  },
  {
    method: 'GET',
    path: `${one}/peers`,
    summary: 'Devices it has paths with: directed by an NMS, with keys that still count.',
    scope: 'read',
    query: { after: { ...text, maxLength: 32 }, limit },
    status: 200,
    result: ref('PeerPage'),
    answer: async ({ devices, peers, deviceId, query }) =>
      peers((await devices.get(deviceId)).nodeId, {
        after: (query.after as string | undefined) ?? null,
        limit: query.limit as number,
      }),
  },
  {
    method: 'POST',
    path: `${one}/token`,
    summary: 'A new enrolment token; the first login with it replaces the keys of the device.',
    scope: 'admin',
    status: 200,
    result: ref('DeviceWithToken'),
    answer: ({ devices, deviceId }) => devices.renewToken(deviceId),
  },
  {
    method: 'POST',
    path: `${one}/certificate`,
    summary: 'A certificate by which an adapter speaks TLS to its general nodes.',
    scope: 'admin',
    adapters: true,
    body: ref('KeyToCertify'),
    status: 200,
    result: exactly({ certificate: { ...text, description: 'PEM, under the TLS root of the network.' } }),
    answer: ({ devices, deviceId, body }) => devices.certify(deviceId, (body as { publicKey: string }).publicKey),
  },
  {
    method: 'GET',
    path: '/v1/audit',
    summary: 'Who changed what and when, the latest first.',
    scope: 'read',
    query: { before: { type: 'integer', minimum: 1 }, limit },
    status: 200,
    result: ref('AuditPage'),
    answer: ({ devices, query }) =>
      devices.audit({ before: (query.before as number | undefined) ?? null, limit: query.limit as number }),
  },
];

const unsaid: Omit<DeviceRequest, 'deviceId'> = {
  groups: [],
  adapter: null,
  mac: null,
  auth: null,
  mode: 'dual',
  password: null,
  ca: null,
};
