/**
 * Metrics and health over HTTP, for all roles of one process: `/metrics` for Prometheus, `/healthz` (the process answers)
 * and `/readyz` (it serves; 503 and why while it starts, stops or lacks something). Nothing here changes anything or is
 * secret, but it tells who talks to whom: it listens where it is told to, on loopback unless told otherwise.
 */

import { createServer, type Server, type ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import { raise } from '../lib/errors.ts';
import { EXPOSITION_TYPE, exposition, type Sample } from '../lib/exposition.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import { version } from '../version.ts';
import type { Running } from './context.ts';
import { metrics, sample } from './metrics.ts';

/** What one role shows of itself. */
export type Observed = {
  readonly role: string;
  /** Several services of one role can run in one process. */
  readonly service: string;
  samples(): readonly Sample[];
  /** Why it cannot serve right now; null = it can. */
  obstacle(): string | null;
};

/** Where to listen; `off` = nowhere. */
export type MetricsAddress = Endpoint | 'off';

/** `byDefault`: nobody asked for this address, so that it being taken is no reason not to serve. */
export type TelemetryOptions = { readonly address: MetricsAddress; readonly byDefault: boolean; readonly log: Log };

export type Telemetry = Running & {
  /** Where it listens, null = nowhere. */
  readonly address: Endpoint | null;
  /** From now on `/readyz` depends on these. */
  serving(observed: readonly Observed[]): void;
  /** Not ready any more: balancers send nothing new. */
  stopping(): void;
};

const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 10_000;

/** `ADDRESS:PORT`, or null if it is none. */
export function parseMetricsAddress(text: string): MetricsAddress | null {
  return text === 'off' ? 'off' : parseEndpoint(text);
}

/** Of a command's option. */
export function readMetricsOption(text: string): MetricsAddress {
  const why = 'it is no ADDRESS:PORT and not off; use one like 127.0.0.1:7450 or [::1]:7450';
  return parseMetricsAddress(text) ?? raise('USAGE_VALUE', { option: '--metrics', value: text, why });
}

/** What to do: by the option, else by the configuration file, else on this port of loopback. */
export function chooseTelemetry(
  option: string | undefined,
  configured: MetricsAddress | null,
  defaultPort: number,
  log: Log,
): TelemetryOptions {
  if (option !== undefined) return { address: readMetricsOption(option), byDefault: false, log };
  if (configured !== null) return { address: configured, byDefault: false, log };
  return { address: { address: '127.0.0.1', port: defaultPort }, byDefault: true, log };
}

export async function startTelemetry({ address, byDefault, log }: TelemetryOptions): Promise<Telemetry> {
  let observed: readonly Observed[] = [];
  let state: 'starting' | 'serving' | 'stopping' = 'starting';
  let utilisation = performance.eventLoopUtilization();

  const obstacleOf = (each: Observed): string | null => (state === 'serving' ? each.obstacle() : state);
  const obstacles = (): string[] => {
    if (state !== 'serving') return [state];
    return observed.flatMap((each) => {
      const why = each.obstacle();
      return why === null ? [] : [`${each.service}: ${why}`];
    });
  };
  const processSamples = (): Sample[] => {
    const now = performance.eventLoopUtilization();
    const busy = performance.eventLoopUtilization(now, utilisation).utilization;
    utilisation = now;
    const { user, system } = process.cpuUsage();
    return [
      sample('cyphonic_build_info', 1, { version, node: process.version }),
      sample('cyphonic_process_start_time_seconds', performance.timeOrigin / 1000),
      sample('cyphonic_process_cpu_seconds_total', (user + system) / 1e6),
      sample('cyphonic_process_resident_memory_bytes', process.memoryUsage.rss()),
      sample('cyphonic_event_loop_utilisation_ratio', busy),
    ];
  };
  const expose = (): string => {
    const ofRoles = observed.flatMap((each) => {
      const { role, service } = each;
      const ready = sample('cyphonic_ready', obstacleOf(each) === null ? 1 : 0);
      return [ready, ...each.samples()].map((one) => ({ ...one, labels: { role, service, ...one.labels } }));
    });
    return exposition(metrics, [...processSamples(), ...ofRoles]);
  };

  const answers: Readonly<Record<string, () => [status: number, type: string, body: string]>> = {
    '/metrics': () => [200, EXPOSITION_TYPE, expose()],
    '/healthz': () => [200, 'text/plain; charset=utf-8', 'ok\n'],
    '/readyz': () => {
      const why = obstacles();
      return [why.length === 0 ? 200 : 503, 'text/plain; charset=utf-8', `${why.join('\n') || 'ready'}\n`];
    },
  };
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('request', (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0]!;
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
    if (answer === undefined) return end(response, 404, 'text/plain; charset=utf-8', 'not found\n');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      return end(response, 405, 'text/plain; charset=utf-8', 'method not allowed\n');
    }
    end(response, ...answer());
  });
  const listens = address !== 'off' && (await listen(server, address, byDefault, log));
  server.on('error', (error) => log.error('metrics socket failed', { error: error.message }));

  return {
    address: listens ? address : null,
    serving(roles) {
      observed = roles;
      state = 'serving';
    },
    stopping() {
      state = 'stopping';
    },
    async stop() {
      if (!listens) return;
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function end(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  // What HEAD must leave out (RFC 9110 section 9.3.2), the server leaves out itself.
  response.end(body);
}

/** False if an address nobody asked for cannot be had. */
async function listen(server: Server, at: Endpoint, byDefault: boolean, log: Log): Promise<boolean> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: at.address, port: at.port, ipv6Only: at.address !== '::' }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (!byDefault) return raise('SYS_METRICS', { address: formatEndpoint(at), why: code }, cause);
    log.warn('no metrics: cannot listen', { address: formatEndpoint(at), why: code });
    return false;
  }
}
