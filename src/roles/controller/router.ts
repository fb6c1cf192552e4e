/** From a request line to the route it means, and from its query and body to values that fit the route's schemas. */

import type { IncomingMessage } from 'node:http';
import { type Problem, problem } from './problem.ts';
import { type ApiRequest, type Route, routes, schemas } from './routes.ts';
import { misfit } from './schema.ts';

const MAX_BODY = 65_536;

export type Match =
  | { readonly route: Route; readonly deviceId: string }
  /** The path exists with other methods only. */
  | { readonly allow: string };

/** Null: there is no such path. */
export function match(method: string, path: string): Match | null {
  const fitting = routes.flatMap((route) => {
    const deviceId = deviceIdOf(route.path, path);
    return deviceId === null ? [] : [{ route, deviceId }];
  });
  if (fitting.length === 0) return null;
  const found = fitting.find(({ route }) => route.method === method);
  return found ?? { allow: fitting.map(({ route }) => route.method).join(', ') };
}

/** '' for a path without one, null for another path. */
function deviceIdOf(template: string, path: string): string | null {
  const wanted = template.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  let deviceId = '';
  for (const [i, part] of wanted.entries()) {
    if (part === '{deviceId}') deviceId = given[i]!;
    else if (part !== given[i]) return null;
  }
  // A DeviceID needs no escaping; whatever does is none.
  return wanted.includes('{deviceId}') && deviceId === '' ? null : deviceId;
}

export function readQuery(route: Route, search: string): ApiRequest['query'] | Problem {
  const allowed = route.query ?? {};
  const query: Record<string, string | number> = {};
  for (const [name, schema] of Object.entries(allowed)) {
    if ('default' in schema && schema.default !== undefined) query[name] = schema.default;
  }
  for (const [name, text] of new URLSearchParams(search)) {
    const schema = Object.hasOwn(allowed, name) ? allowed[name] : undefined;
    if (schema === undefined) return problem('invalid', `there is no parameter ${name.slice(0, 64)}`);
    const value = 'type' in schema && schema.type === 'integer' && /^\d{1,15}$/.test(text) ? Number(text) : text;
    const wrong = misfit(schemas, schema, value, name);
    if (wrong !== null) return problem('invalid', wrong);
    query[name] = value;
  }
  return query;
}

export async function readBody(route: Route, request: IncomingMessage): Promise<{ value: unknown } | Problem> {
  const octets = await readOctets(request);
  if (octets === null) return problem('too-large', `a body is at most ${MAX_BODY} octets`);
  if (route.body === undefined)
    return octets.length === 0 ? { value: null } : problem('invalid', 'no body is expected');
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
  if (type !== 'application/json') return problem('media-type', 'the body must be application/json');
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
  } catch {
    return problem('bad-request', 'the body is no JSON in UTF-8');
  }
  const wrong = misfit(schemas, route.body, value);
  return wrong === null ? { value } : problem('invalid', wrong);
}

/** Null: more than we take; the rest is not read. */
async function readOctets(request: IncomingMessage): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY) return null;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
