/**
 * The controller: the register's devices over HTTPS, under the network's TLS root. In order: is there such a route, who
 * asks, may they, how often; then the body, then the work. Every answer that is no success is a problem (RFC 9457).
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Buckets, siteOf } from '../../core/limits.ts';
import { nodePrimitives } from '../../crypto/node.ts';
import { Counters } from '../../lib/counters.ts';
import type { Log } from '../../lib/log.ts';
import type { Register } from '../../store/register.ts';
import type { Shared } from '../../store/shared.ts';
import { readClock } from '../../sys/clock.ts';
import { evpAead } from '../../sys/evp.ts';
import type { Running } from '../context.ts';
import { administer } from '../local-administration.ts';
import { counterSamples } from '../metrics.ts';
import type { NetworkFile } from '../network-files.ts';
import type { Observed } from '../telemetry.ts';
import { adopter, keepRenewed, listenEverywhere, makeTlsContext, remoteOf } from '../tls-server.ts';
import { type Authentication, authenticate } from './authentication.ts';
import { DOCUMENT_PATH, openApi } from './openapi.ts';
import { listPeers, type PeerPage, type PeerRequest } from './peers.ts';
import { type Problem, problem, problemOf } from './problem.ts';
import { match, readBody, readQuery } from './router.ts';
import type { Caller, Route } from './routes.ts';
import { TokenFile } from './tokens.ts';

export type ControllerOptions = {
  readonly file: NetworkFile;
  readonly register: Register;
  /** What the NMSs share; null = it was not said where that is. */
  readonly shared: Shared | null;
  readonly log: Log;
};

export type Controller = Running & {
  readonly observed: Observed;
  /** Takes on a connection that came in at another port. */
  adopt(socket: Socket): void;
};

const MAX_CONNECTIONS = 512;
const REQUEST_TIMEOUT_MS = 15_000;
/** How long requests in progress have when the controller stops. */
const FINISH_MS = 3_000;
/** Requests without valid credentials, by the site they come from. */
const STRANGERS = { burst: 20, perSecond: 0.5 };
const CALLERS = { burst: 200, perSecond: 50 };
/** Changes by one adapter, each of which is written down for good. */
const ADAPTER_CHANGES = { burst: 20, perSecond: 0.02 };

type Answer = {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
};

export async function startController(options: ControllerOptions): Promise<Controller> {
  const { file, register, shared, log } = options;
  const peers = (nodeId: string, page: PeerRequest): Promise<PeerPage> => listPeers(register, shared, nodeId, page);
  const counters = new Counters();
  const strangers = new Buckets(STRANGERS);
  const callers = new Buckets(CALLERS);
  const changes = new Buckets(ADAPTER_CHANGES);
  const primitives = nodePrimitives(evpAead);
  const authentication: Authentication = { tokens: new TokenFile(file.apiTokensFile, log), register, primitives };

  const answerTo = async (request: IncomingMessage): Promise<Answer> => {
    const { method = '', url = '' } = request;
    const [path, search = ''] = url.split(/\?(.*)/s, 2) as [string, string?];
    if (path === DOCUMENT_PATH && method === 'GET') return { status: 200, body: openApi };
    const found = match(method, path);
    if (found === null) return refused(problem('not-found', 'there is no such path'));
    if ('allow' in found) return refused(problem('method-not-allowed', `use ${found.allow}`), { Allow: found.allow });

    const socket = request.socket as TLSSocket;
    const remote = remoteOf(socket);
    if (remote === null) return refused(problem('forbidden', 'your address is unknown'));
    const site = siteOf(remote);
    if (!strangers.take(site, readClock().ms)) return tooMany();
    const caller = await authenticate(authentication, request.headers.authorization, socket);
    if (caller === null) {
      const why = 'give an API token (Authorization: Bearer) or the proof of an adapter';
      return refused(problem('unauthorised', why), { 'WWW-Authenticate': 'Bearer realm="cyphonic"' });
    }
    strangers.giveBack(site);
    const name = nameOf(caller);
    if (!callers.take(name, readClock().ms)) return tooMany();

    const { route, deviceId } = found;
    const query = readQuery(route, search);
    if (isProblem(query)) return refused(query);
    const body = await readBody(route, request);
    if (isProblem(body)) return refused(body);
    const devices = administer(register, file, name);
    const forbidden = await obstacle(
      caller,
      route,
      deviceId,
      query.adapter,
      async (id) => (await devices.get(id)).adapter,
    );
    if (forbidden !== null) return refused(forbidden);
    const isAdapters = caller.kind === 'adapter' && route.method !== 'GET';
    if (isAdapters && !changes.take(name, readClock().ms)) return tooMany();
    const result = (await route.answer({ devices, peers, deviceId, query, body: body.value })) as { deviceId?: string };
    if (route.method !== 'GET') log.info('changed', { by: name, method, path });
    const { status } = route;
    return { status, body: result, ...(status === 201 && { headers: { Location: `${path}/${result.deviceId}` } }) };
  };

  const server = createServer({
    ...(await makeTlsContext(file)),
    minVersion: 'TLSv1.3',
    handshakeTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('request', (request, response) => {
    answerTo(request)
      .catch((error: unknown): Answer => {
        const meant = problemOf(error);
        if (meant !== null) return refused(meant);
        log.error('internal error', { error: error instanceof Error ? error.stack : String(error) });
        return refused(problem('internal', 'This is a fault of the controller; see its log.'));
      })
      .then((answer) => {
        counters.add(`api-${Math.floor(answer.status / 100)}xx`);
        send(request, response, answer);
      });
  });
  server.on('tlsClientError', () => counters.add('api-tls-refused'));
  server.on('drop', () => counters.add('api-connection-limit'));
  await listenEverywhere(server, file.controllerPort);
  server.on('error', (error) => log.error('controller socket failed', { error: error.message }));
  const stopRenewing = keepRenewed(server, file, log);

  return {
    adopt: adopter(server, MAX_CONNECTIONS),
    observed: {
      role: 'controller',
      service: 'controller',
      samples: () => counterSamples(counters.snapshot()),
      obstacle: () => null,
    },
    async stop() {
      stopRenewing();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), FINISH_MS);
      await closed;
      clearTimeout(cut);
    },
  };
}

/** Why this caller may not ask that; null = it may. */
async function obstacle(
  caller: Caller,
  route: Route,
  deviceId: string,
  adapter: unknown,
  adapterOf: (deviceId: string) => Promise<string | null>,
): Promise<Problem | null> {
  if (caller.kind === 'token') {
    const may = caller.scope === 'admin' || route.scope === 'read';
    return may ? null : problem('forbidden', `this needs a token of scope ${route.scope}`);
  }
  const own = caller.deviceId.toLowerCase();
  if (route.adapters !== true) return problem('forbidden', 'adapters may not ask that');
  if (deviceId === '') {
    const may = typeof adapter === 'string' && adapter.toLowerCase() === own;
    return may ? null : problem('forbidden', `an adapter asks for its own general nodes: ?adapter=${caller.deviceId}`);
  }
  // Nobody else's device is told from one that does not exist.
  const theirs = deviceId.toLowerCase() === own || (await adapterOf(deviceId).catch(() => null))?.toLowerCase() === own;
  return theirs ? null : problem('not-found', 'this adapter has no such general node');
}

function nameOf(caller: Caller): string {
  return caller.kind === 'token' ? `token:${caller.name}` : `adapter:${caller.deviceId.toLowerCase()}`;
}

function refused(what: Problem, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status: what.status, body: what, headers: { ...headers, 'Content-Type': 'application/problem+json' } };
}

function tooMany(): Answer {
  return refused(problem('too-many-requests', 'slow down'), { 'Retry-After': '2' });
}

function isProblem(value: object): value is Problem {
  return 'status' in value && 'title' in value;
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, headers }: Answer): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    'Content-Type': 'application/json',
    ...headers,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    // What was not read of a request would be taken for the next one.
    ...(!request.complete && { Connection: 'close' }),
  });
  response.end(text);
}
