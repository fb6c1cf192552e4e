import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import type { LiveStatus } from '../../src/roles/member/live.ts';
import { observeNode } from '../../src/roles/member/observe.ts';
import { sample } from '../../src/roles/metrics.ts';
import { type Observed, startTelemetry, type Telemetry } from '../../src/roles/telemetry.ts';
import { freePort } from './cloud/port.ts';

let telemetry: Telemetry;
let port: number;
let obstacle: string | null;
const nms: Observed = {
  role: 'nms',
  service: 'nms-2',
  samples: () => [sample('cyphonic_nodes_present', 7)],
  obstacle: () => obstacle,
};

beforeEach(async () => {
  obstacle = null;
  port = await freePort();
  telemetry = await startTelemetry({ address: { address: '127.0.0.1', port }, byDefault: false, log: silentLog });
});
afterEach(() => telemetry.stop());

async function ask(path: string, method = 'GET') {
  const call = request({ host: '127.0.0.1', port, path, method, agent: false }).end();
  const [response] = await once(call, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
}

it('answers for its health from the start, for being ready only while it serves', async () => {
  expect(await ask('/healthz')).toMatchObject({ status: 200, body: 'ok\n' });
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'starting\n' });
  telemetry.serving([nms]);
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: 'ready\n' });
  obstacle = 'the register does not answer';
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'nms-2: the register does not answer\n' });
  expect((await ask('/metrics')).body).toContain('cyphonic_ready{role="nms",service="nms-2"} 0\n');
  obstacle = null;
  telemetry.stopping();
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'stopping\n' });
  expect(await ask('/healthz')).toMatchObject({ status: 200 });
});

it('shows the metrics of its roles, labelled, and those of the process once', async () => {
  telemetry.serving([nms, { ...nms, service: 'nms' }]);
  const { status, headers, body } = await ask('/metrics?x=1');
  expect(status).toBe(200);
  expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  const lines = body.trimEnd().split('\n');
  expect(lines).toContain('cyphonic_nodes_present{role="nms",service="nms-2"} 7');
  expect(lines).toContain('cyphonic_nodes_present{role="nms",service="nms"} 7');
  expect(lines.filter((line) => line.startsWith('cyphonic_build_info'))).toHaveLength(1);
  for (const line of lines) expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? \S+)$/);
  // One TYPE line per metric, before its samples (a scraper refuses anything else).
  const types = lines.filter((line) => line.startsWith('# TYPE'));
  expect(new Set(types).size).toBe(types.length);
});

it('answers nothing else', async () => {
  expect((await ask('/')).status).toBe(404);
  expect((await ask('/constructor')).status).toBe(404);
  expect((await ask('/metrics/../readyz')).status).toBe(404);
  expect(await ask('/metrics', 'POST')).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  expect(await ask('/healthz', 'HEAD')).toMatchObject({ status: 200, body: '' });
  const socket = connect(port, '127.0.0.1');
  socket.end('no HTTP at all\r\n\r\n');
  const [chunk] = await once(socket, 'data');
  expect(String(chunk)).toMatch(/^HTTP\/1.1 400/);
});

it('an address that is taken is an error only if somebody asked for it', async () => {
  const address = { address: '127.0.0.1', port };
  await expect(startTelemetry({ address, byDefault: false, log: silentLog })).rejects.toMatchObject({
    code: 'SYS_METRICS',
  });
  const other = await startTelemetry({ address, byDefault: true, log: silentLog });
  expect(other.address).toBeNull();
  await other.stop();
  const none = await startTelemetry({ address: 'off', byDefault: false, log: silentLog });
  expect(none.address).toBeNull();
  await none.stop();
});

it('shows a node: its peers by state, path and family, each with what is known', async () => {
  const peer = {
    fqdn: 'b.lab.example',
    nodeId: '',
    vip4: null,
    vip6: null,
    state: 'up' as const,
    path: 'relay' as const,
    endpoint: '[2001:db8::1]:7442',
    suite: null,
    epoch: 1,
    since: null,
    rttMs: 12,
    handshakeAgeMs: 3_000,
    tx: { packets: 1, bytes: 84, dropped: 0 },
    rx: { packets: 1, bytes: 85, dropped: 0, replayed: 0, rejected: 0 },
  };
  const idle = { ...peer, fqdn: 'c.lab.example', state: 'idle' as const, path: null, endpoint: null, rttMs: null };
  const status = {
    snapshot: {
      state: 'online',
      services: [{ role: 'nms', address: '198.51.100.10:7441', state: 'up', lastContactMs: 1, rttMs: 4 }],
      peers: [peer, { ...idle, handshakeAgeMs: null }],
    },
    counters: { 'path-up-relay-relay': 1 },
  } as unknown as LiveStatus;
  let current: LiveStatus | null = null;
  telemetry.serving([observeNode(() => current)]);
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'node: not logged in\n' });
  expect((await ask('/metrics')).status).toBe(200);
  current = status;
  expect((await ask('/readyz')).status).toBe(200);
  const { body } = await ask('/metrics');
  const node = 'role="node",service="node"';
  for (const line of [
    `cyphonic_node_peers{${node},state="up",path="relay",family="ipv6"} 1`,
    `cyphonic_node_peers{${node},state="idle",path="none",family="none"} 1`,
    `cyphonic_node_peer_round_trip_seconds{${node},peer="b.lab.example"} 0.012`,
    `cyphonic_node_peer_handshake_age_seconds{${node},peer="b.lab.example"} 3`,
    `cyphonic_node_peer_bytes_total{${node},peer="b.lab.example",direction="received"} 85`,
    `cyphonic_node_nms_round_trip_seconds{${node},address="198.51.100.10:7441"} 0.004`,
    `cyphonic_node_path_events_total{${node},event="up",nats="relay",path="relay"} 1`,
  ]) {
    expect(body.split('\n')).toContain(line);
  }
  expect(body).not.toContain('round_trip_seconds{role="node",service="node",peer="c.lab.example"}');
});
