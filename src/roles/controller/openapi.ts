/** The OpenAPI 3.1 document of the controller, made from its routes. */

import { version } from '../../version.ts';
import { type Route, routes, schemas } from './routes.ts';
import { ref, type Schema } from './schema.ts';

export const DOCUMENT_PATH = '/openapi.json';

const json = (schema: Schema) => ({ 'application/json': { schema } });
const problems = {
  description: 'A problem (RFC 9457).',
  content: { 'application/problem+json': { schema: ref('Problem') } },
};

export const openApi = {
  openapi: '3.1.0',
  info: {
    title: 'CYPHONIC controller',
    version,
    summary: 'The devices of a network.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  paths: pathsOf(routes),
  components: {
    schemas,
    securitySchemes: {
      token: { type: 'http', scheme: 'bearer', description: 'An API token, of scope admin or read.' },
      adapter: {
        type: 'apiKey',
        in: 'header',
        name: 'Authorization',
        description:
          '`Cyphonic-Adapter ID:SIGNATURE`: base64url of the Ed25519 signature by the pinned login key over "cyphonic controller v1", a zero octet, the public key and the TLS exporter value (EXPORTER-cyphonic-controller, 32 octets). Sees the adapter and its own general nodes.',
      },
    },
  },
};

function pathsOf(all: readonly Route[]): Record<string, Record<string, unknown>> {
  const byPath = Map.groupBy(all, ({ path }) => path);
  return Object.fromEntries(
    [...byPath].map(([path, same]) => [
      path,
      Object.fromEntries(same.map((route) => [route.method.toLowerCase(), operation(route)])),
    ]),
  );
}

function operation({ path, summary, scope, adapters, query = {}, body, status, result }: Route) {
  const named = path.includes('{deviceId}')
    ? [{ name: 'deviceId', in: 'path', required: true, schema: { type: 'string', maxLength: 63 } }]
    : [];
  return {
    summary,
    parameters: [...named, ...Object.entries(query).map(([name, schema]) => ({ name, in: 'query', schema }))],
    ...(body !== undefined && { requestBody: { required: true, content: json(body) } }),
    responses: { [status]: { description: 'Done.', content: json(result) }, default: problems },
    security: [{ token: [scope] }, ...(adapters === true ? [{ adapter: [] }] : [])],
  };
}
