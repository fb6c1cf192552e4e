/** The controller over real TLS. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { generateIdentity, signController } from '../../../src/crypto/identity.ts';
import { makeTlsKey } from '../../../src/crypto/tls-certificate.ts';
import { decodeToken } from '../../../src/crypto/token.ts';
import { CONTROLLER_EXPORTER_LABEL } from '../../../src/proto/constants.ts';
import { openApi } from '../../../src/roles/controller/openapi.ts';
import { type Route, routes, schemas } from '../../../src/roles/controller/routes.ts';
import { misfit, ref } from '../../../src/roles/controller/schema.ts';
import { certifyAdapter, listGeneralNodes } from '../../../src/roles/controller-client.ts';
import { primitives } from '../../crypto/fixtures.ts';
import { login } from '../../store/network.ts';
import { useNetworks } from '../cloud/run.ts';
import { type Ask, type Bench, type Reply, startBench } from './bench.ts';

const { initNetwork } = useNetworks();
let bench: Bench;

beforeEach(async () => {
  bench = await startBench(initNetwork);
});
afterEach(() => bench.stop());

const problemType = 'application/problem+json';

function expectProblem(reply: Reply, status: number, detail = ''): void {
  expect(reply).toMatchObject({ status, headers: { 'content-type': problemType } });
  expect(misfit(schemas, ref('Problem'), reply.body)).toBeNull();
  expect(reply.body).toMatchObject({ status, detail: expect.stringContaining(detail) });
}

/** A key as the controller certifies it. */
async function newKey(): Promise<string> {
  return Buffer.from((await makeTlsKey()).publicKey).toString('base64');
}

/** What a route takes. */
async function bodyOf({ path, body }: Route): Promise<{ body?: object }> {
  if (body === undefined) return {};
  return { body: path.endsWith('/certificate') ? { publicKey: await newKey() } : { deviceId: 'new' } };
}

async function add(deviceId: string, more: object = {}): Promise<Reply> {
  return bench.ask('/v1/devices', { method: 'POST', body: { deviceId, ...more } });
}

describe('devices', () => {
  it('are added, listed, shown, disabled, enabled and removed', async () => {
    const made = await add('Laptop', { groups: ['staff'] });
    expect(made).toMatchObject({
      status: 201,
      headers: { location: '/v1/devices/Laptop', 'cache-control': 'no-store' },
    });
    expect(decodeToken(made.body.token)).toMatchObject({ deviceId: 'Laptop', domain: 'lab.example' });
    const { token: _, ...device } = made.body;
    expect((await bench.ask('/v1/devices/laptop')).body).toEqual(device);
    expect((await bench.ask('/v1/devices')).body).toEqual({ items: [device], next: null });
    const post = { method: 'POST' };
    expect((await bench.ask('/v1/devices/laptop/disable', post)).body).toEqual({ ...device, state: 'disabled' });
    expect((await bench.ask('/v1/devices/laptop/enable', post)).body).toEqual(device);
    const renewed = (await bench.ask('/v1/devices/laptop/token', post)).body;
    expect(decodeToken(renewed.token)?.secret).not.toEqual(decodeToken(made.body.token)?.secret);
    expect((await bench.ask('/v1/devices/laptop', { method: 'DELETE' })).body).toEqual(device);
    expectProblem(await bench.ask('/v1/devices/laptop'), 404, 'there is no device laptop');
  });

  it('can be general nodes, without a token', async () => {
    await add('gw');
    const made = await add('cam', { adapter: 'gw', mac: '02-00-00-00-00-AB', mode: 'ipv4' });
    expect(made).toMatchObject({
      status: 201,
      body: { kind: 'general', adapter: 'gw', mac: '02:00:00:00:00:ab', vip6: null },
    });
    expect(made.body.token).toBeUndefined();
    expectProblem(await bench.ask('/v1/devices/gw', { method: 'DELETE' }), 409, 'adapter of 1 general nodes');
    expectProblem(await bench.ask('/v1/devices/cam/token', { method: 'POST' }), 409, 'no token');
  });

  it('come in pages', async () => {
    for (const id of ['d', 'b', 'C', 'a']) await add(id);
    const ids = (reply: Reply) => reply.body.items.map(({ deviceId }: { deviceId: string }) => deviceId);
    const first = await bench.ask('/v1/devices?limit=3');
    expect([ids(first), first.body.next]).toEqual([['a', 'b', 'C'], 'C']);
    const second = await bench.ask('/v1/devices?limit=3&after=C');
    expect([ids(second), second.body.next]).toEqual([['d'], null]);
  });

  it('say who is present', async () => {
    const { nodeId } = (await add('a')).body;
    await bench.register.change({ set: 'seen', nodes: [{ nodeId, at: Date.now() }] });
    expect((await bench.ask('/v1/devices/a')).body).toMatchObject({
      online: true,
      lastSeen: expect.stringMatching(/Z$/),
    });
  });

  it('leave a trail of every change', async () => {
    await add('a');
    await bench.ask('/v1/devices/a/disable', { method: 'POST' });
    await add('a');
    await bench.ask('/v1/devices/a');
    const { body } = await bench.ask('/v1/audit?limit=2', { token: bench.reader });
    expect(body.items).toMatchObject([
      { by: 'token:admin', action: 'disable', subject: 'a' },
      { by: 'token:admin', action: 'add', subject: 'a' },
    ]);
    const earlier = await bench.ask(`/v1/audit?before=${body.next}`);
    expect(earlier.body.items).toMatchObject([{ action: 'service' }, { by: 'local', action: 'service' }]);
  });
});

describe('what nobody may', () => {
  it.each([
    [{ deviceId: '-' }, 422, 'ID -'],
    [{ deviceId: 'a'.repeat(64) }, 422, 'body.deviceId is too'],
    [{}, 422, 'body.deviceId is missing'],
    [{ deviceId: 'a', colour: 'red' }, 422, 'body.colour is not known'],
    [{ deviceId: 'a', groups: 'x' }, 422, 'body.groups is no list'],
    [{ deviceId: 'a', groups: ['UPPER'] }, 422, '--group UPPER'],
    [{ deviceId: 'a', mac: '02:00:00:00:00:01' }, 422, 'it needs --adapter'],
    [{ deviceId: 'a', adapter: 'none', mac: '02:00:00:00:00:01' }, 404, 'there is no device none'],
    [{ deviceId: 'a', mode: 'ipv5' }, 422, 'none of dual, ipv4, ipv6'],
    [['a'], 422, 'body is no object'],
  ])('add %j: %i', async (body, status, detail) => {
    expectProblem(await bench.ask('/v1/devices', { method: 'POST', body }), status, detail);
    expect((await bench.ask('/v1/devices')).body.items).toEqual([]);
  });

  it('send: no JSON, another type, too much, a body where none belongs', async () => {
    const post = (raw: string | Buffer, headers = {}): Promise<Reply> =>
      bench.ask('/v1/devices', { method: 'POST', raw, headers });
    expectProblem(await post('{'), 400, 'no JSON');
    expectProblem(await post(Buffer.from([0x22, 0xff, 0x22])), 400, 'no JSON');
    expectProblem(await post('deviceId=a', { 'Content-Type': 'application/x-www-form-urlencoded' }), 415);
    expectProblem(await post('x'.repeat(65_537)), 413);
    expectProblem(await post('x'.repeat(200_000), { 'Transfer-Encoding': 'chunked' }), 413);
    await add('a');
    expectProblem(await bench.ask('/v1/devices/a/disable', { method: 'POST', body: {} }), 422, 'no body');
    expect((await bench.ask('/v1/devices/a')).body.state).toBe('new');
  });

  it('ask: unknown paths, methods and parameters', async () => {
    for (const path of ['/', '/v1', '/v1/devices/', '/v1/devices/a/b', '/v1//devices', '/v2/devices']) {
      expectProblem(await bench.ask(path), 404);
    }
    for (const path of ['/v1/devices/..%2f..', '/v1/devices/%00', "/v1/devices/';--"]) {
      expectProblem(await bench.ask(path), 404, 'there is no device');
    }
    const put = await bench.ask('/v1/devices/a', { method: 'PUT' });
    expectProblem(put, 405);
    expect(put.headers.allow).toBe('GET, DELETE');
    for (const query of [
      'limit=0',
      'limit=1001',
      'limit=x',
      'limit=-1',
      'before=1',
      'colour=red',
      `after=${'a'.repeat(64)}`,
    ]) {
      expectProblem(await bench.ask(`/v1/devices?${query}`), 422);
    }
  });

  it('be without a token, or with a wrong one', async () => {
    const attempts: Ask[] = [
      { token: null },
      { token: 'x' },
      { token: `${bench.admin}x` },
      { token: null, headers: { Authorization: `Basic ${btoa(`admin:${bench.admin}`)}` } },
      { token: null, headers: { Authorization: bench.admin } },
    ];
    for (const attempt of attempts) {
      const reply = await bench.ask('/v1/devices', attempt);
      expectProblem(reply, 401);
      expect(reply.headers['www-authenticate']).toBe('Bearer realm="cyphonic"');
    }
  });

  it('change anything with a token for reading', async () => {
    await add('a');
    const token = bench.reader;
    expect((await bench.ask('/v1/devices', { token })).status).toBe(200);
    for (const route of routes.filter(({ scope }) => scope === 'admin')) {
      const at = route.path.replace('{deviceId}', 'a');
      const what = { method: route.method, token, ...(await bodyOf(route)) };
      expectProblem(await bench.ask(at, what), 403, `scope ${route.scope}`);
    }
    expect((await bench.ask('/v1/devices')).body.items).toMatchObject([{ deviceId: 'a', state: 'new' }]);
  });

  it('guess without end', async () => {
    const guesses = await Promise.all(Array.from({ length: 30 }, () => bench.ask('/v1/devices', { token: 'guess' })));
    const statuses = new Set(guesses.map(({ status }) => status));
    expect(statuses).toEqual(new Set([401, 429]));
    const limited = guesses.find(({ status }) => status === 429)!;
    expectProblem(limited, 429);
    expect(limited.headers['retry-after']).toBe('2');
  });

  it('speak older TLS, or none', async () => {
    const failed = (socket: ReturnType<typeof connectTls>) =>
      new Promise<string>((resolve) => {
        socket.once('secureConnect', () => resolve('connected'));
        socket.once('error', () => resolve('refused'));
      });
    const options = { host: '127.0.0.1', port: bench.port, rejectUnauthorized: false };
    expect(await failed(connectTls({ ...options, maxVersion: 'TLSv1.2' }))).toBe('refused');
    const plain = connectTcp(bench.port, '127.0.0.1');
    plain.end('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    plain.on('error', () => {});
    await new Promise((resolve) => plain.once('close', resolve));
    expect((await bench.ask('/v1/devices')).status).toBe(200);
  });
});

describe('an adapter', () => {
  const identity = generateIdentity(primitives);
  const keys = { signKey: identity.sign.publicKey, handshakeKey: identity.handshake.publicKey };

  beforeEach(async () => {
    for (const id of ['gw', 'other']) await add(id);
    await add('cam1', { adapter: 'gw', mac: '02:00:00:00:00:01' });
    await add('cam2', { adapter: 'other', mac: '02:00:00:00:00:02' });
    const given = login('gw', 1);
    await bench.register.change({ ...given, ...keys });
    await bench.register.change({ set: 'acknowledged', deviceId: 'gw', commonKey: given.pendingCommonKey });
  });

  type Proof = { as?: string; by?: typeof identity; method?: string; elsewhere?: boolean; body?: object };

  /** Asks with a proof made on `proven`, sent on `used`. */
  async function prove(
    path: string,
    { as = 'gw', by = identity, method = 'GET', elsewhere = false, body }: Proof = {},
  ): Promise<Reply> {
    const socket = await bench.connect();
    const proven = elsewhere ? await bench.connect() : socket;
    const exporter = proven.exportKeyingMaterial(32, CONTROLLER_EXPORTER_LABEL, Buffer.alloc(0));
    const signature = Buffer.from(signController(primitives, by, exporter)).toString('base64url');
    try {
      const headers = { Authorization: `Cyphonic-Adapter ${as}:${signature}` };
      return await bench.ask(path, { token: null, method, headers, socket, ...(body && { body }) });
    } finally {
      for (const each of [socket, proven]) each.destroy();
    }
  }

  it('sees itself and its own general nodes', async () => {
    const { status, body } = await prove('/v1/devices?adapter=gw');
    expect([status, body.items.map(({ deviceId }: { deviceId: string }) => deviceId)]).toEqual([200, ['cam1']]);
    expect((await prove('/v1/devices/CAM1')).body).toMatchObject({ deviceId: 'cam1' });
    expect((await prove('/v1/devices/gw')).body).toMatchObject({ deviceId: 'gw', kind: 'adapter' });
  });

  it('lists them with our own client, page after page', async () => {
    const given = {
      groups: [],
      auth: 'mac',
      mode: 'ipv4',
      secretHash: null,
      secretExpires: null,
      trustedCa: null,
    } as const;
    const ids = Array.from({ length: 1_001 }, (_, i) => `x${String(i).padStart(4, '0')}`);
    for (const [i, deviceId] of ids.entries()) {
      const mac = `02:00:00:01:${[i >> 8, i & 255].map((octet) => octet.toString(16).padStart(2, '0')).join(':')}`;
      await bench.register.add({ ...given, deviceId, adapter: 'gw', mac });
    }
    const access = { url: bench.url, connect: bench.connect, deviceId: 'gw', identity, primitives };
    const found = await listGeneralNodes(access);
    expect(found.map(({ deviceId }) => deviceId)).toEqual(['cam1', ...ids]);
    await expect(listGeneralNodes({ ...access, deviceId: 'other' })).rejects.toMatchObject({
      code: 'REFUSED_CONTROLLER',
    });
  });

  it('gets certificates of its own name for keys of its own', async () => {
    const access = { url: bench.url, connect: bench.connect, deviceId: 'gw', identity, primitives };
    const { certificate, privateKey } = await certifyAdapter(access);
    const leaf = new X509Certificate(certificate);
    expect(leaf.checkPrivateKey(createPrivateKey(privateKey))).toBe(true);
    expect(leaf.verify(new X509Certificate(bench.root).publicKey)).toBe(true);
    expect([leaf.subjectAltName, leaf.ca]).toEqual(['DNS:gw.lab.example', false]);
    expect(Math.round((+leaf.validToDate - Date.now()) / 86_400_000)).toBe(30);

    const ask = (id: string, publicKey: string) =>
      prove(`/v1/devices/${id}/certificate`, { method: 'POST', body: { publicKey } });
    const key = leaf.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
    expect((await ask('gw', key)).status).toBe(200);
    const entry = { by: 'adapter:gw', action: 'certify', subject: 'gw' };
    expect(await bench.register.audit(null, 3)).toMatchObject([entry, entry, { action: 'pin' }]);
    expectProblem(await ask('cam1', key), 422, 'it is no adapter');
    expectProblem(await ask('other', key), 404);
    expectProblem(await ask('gw', 'AAAA'), 422, 'no P-256 key');
  });

  it('gets so many certificates and no more', async () => {
    const ask = () => prove('/v1/devices/cam1/certificate', { method: 'POST', body: { publicKey: 'AAAA' } });
    const statuses = [];
    for (let i = 0; i < 21; i++) statuses.push((await ask()).status);
    expect(statuses).toEqual([...new Array(20).fill(422), 429]);
    expect((await prove('/v1/devices/gw')).status).toBe(200);
  });

  it('gets no certificate of the name of the cloud', async () => {
    const body = { publicKey: await newKey() };
    for (const [name, mac] of [
      ['as', '02:00:00:00:00:03'],
      ['Controller', '02:00:00:00:00:04'],
      ['trs', '02:00:00:00:00:05'],
    ] as const) {
      await add(name);
      await add(`cam-${name}`, { adapter: name, mac });
      const answer = await bench.ask(`/v1/devices/${name}/certificate`, { method: 'POST', body });
      expectProblem(answer, 422, 'a name of the cloud itself');
    }
  });

  it("neither sees nor changes others', nor its own", async () => {
    expectProblem(await prove('/v1/devices'), 403, '?adapter=gw');
    expectProblem(await prove('/v1/devices?adapter=other'), 403);
    for (const id of ['cam2', 'other', 'none'])
      expectProblem(await prove(`/v1/devices/${id}`), 404, 'no such general node');
    expectProblem(await prove('/v1/audit'), 403);
    expectProblem(await prove('/v1/devices/cam1/disable', { method: 'POST' }), 403);
    expectProblem(await prove('/v1/devices/cam1', { method: 'DELETE' }), 403);
  });

  it('is nobody with other keys, under another name, on another connection, or once disabled', async () => {
    const path = '/v1/devices?adapter=gw';
    expectProblem(await prove(path, { by: generateIdentity(primitives) }), 401);
    expectProblem(await prove('/v1/devices?adapter=other', { as: 'other' }), 401);
    expectProblem(await prove(path, { as: 'none' }), 401);
    expectProblem(await prove(path, { elsewhere: true }), 401);
    await bench.register.setEnabled('gw', false);
    expectProblem(await prove(path), 401);
  });
});

describe('the OpenAPI document', () => {
  it('is served to everybody and has every route', async () => {
    const { status, body } = await bench.ask('/openapi.json', { token: null });
    expect([status, body.openapi]).toEqual([200, '3.1.0']);
    expect(body).toEqual(JSON.parse(JSON.stringify(openApi)));
    const listed = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(listed.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
    // Every reference leads somewhere.
    const refs = [...JSON.stringify(body).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);
    for (const name of refs) expect(Object.keys(body.components.schemas)).toContain(name);
  });

  it('says the truth about every answer', async () => {
    await add('gw');
    await add('cam', { adapter: 'gw', mac: '02:00:00:00:00:01' });
    let asked = 0;
    // What removes comes last.
    for (const route of [...routes].sort((a, b) => Number(a.method === 'DELETE') - Number(b.method === 'DELETE'))) {
      const own = /token|certificate/.test(route.path);
      const path = route.path.replace('{deviceId}', asked % 2 === 0 || own ? 'gw' : 'cam');
      const target = route.method === 'DELETE' ? '/v1/devices/cam' : path;
      const { status, body } = await bench.ask(target, {
        method: route.method,
        ...(await bodyOf(route)),
      });
      expect([route.path, status, misfit(schemas, route.result, body)]).toEqual([route.path, route.status, null]);
      asked++;
    }
    expect(asked).toBe(routes.length);
  });
});
