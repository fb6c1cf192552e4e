/** How a device gets to the cloud's TLS servers: which address is taken, proxies, and what is said where nothing helps. */

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { issueTlsServer, makeTlsRoot, type TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { CyphonicError } from '../../../src/lib/errors.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { openTls, reach } from '../../../src/roles/member/reach.ts';
import { startProxy } from './proxy.ts';

const LOOPBACK = '127.0.0.1';
const servername = 'as.lab.example';

let ca: TlsIdentity;
let identity: TlsIdentity;
let servers: Server[];
let as: Endpoint;

beforeAll(async () => {
  ca = await makeTlsRoot('lab.example', Date.now());
  identity = await issueTlsServer(ca, [servername], [], Date.now());
});

beforeEach(async () => {
  servers = [];
  as = await listen(createTlsServer({ cert: identity.certificate, key: identity.privateKey }));
});

afterEach(() => {
  for (const server of servers) server.close();
});

async function listen(server: Server): Promise<Endpoint> {
  servers.push(server);
  server.on('connection', (socket) => socket.on('error', () => {}));
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  return { address: LOOPBACK, port: (server.address() as AddressInfo).port };
}

/** Nothing listens there. */
async function nowhere(): Promise<Endpoint> {
  const server = createServer();
  const endpoint = await listen(server);
  server.close();
  await once(server, 'close');
  return endpoint;
}

const trust = () => ({ servername, ca: ca.certificate });
const failed = (why: string): CyphonicError => new CyphonicError('SYS_UNREACHABLE', { why });
const connect = (endpoints: readonly Endpoint[], environment = {}) =>
  reach(endpoints, (endpoint, signal) => openTls(endpoint, trust(), environment, signal), failed);

describe('of several endpoints', () => {
  it('the next one is taken at once when one refuses', async () => {
    const socket = await connect([await nowhere(), as]);
    expect(socket.remotePort).toBe(as.port);
    socket.destroy();
  });

  it('the next one is tried beside one that is silent, which is then given up', async () => {
    let ended = false;
    const silent = await listen(
      createServer((socket) => {
        socket.resume();
        socket.on('close', () => {
          ended = true;
        });
      }),
    );
    const socket = await connect([silent, as]);
    expect(socket.remotePort).toBe(as.port);
    await expect.poll(() => ended).toBe(true);
    socket.destroy();
  });

  it('those after one that answers are left alone', async () => {
    const asked: Endpoint[] = [];
    const endpoints = [as, await nowhere()];
    const found = await reach(endpoints, async (endpoint) => asked.push(endpoint), failed);
    expect([found, asked]).toEqual([1, [as]]);
  });

  it('each is named with its reason if none answers', async () => {
    const [one, other] = [await nowhere(), await nowhere()];
    await expect(connect([one, other])).rejects.toThrow(
      `no AS answers (${LOOPBACK}:${one.port}: ECONNREFUSED, ${LOOPBACK}:${other.port}: ECONNREFUSED); check`,
    );
  });

  it('one with a certificate of another network or service is none', async () => {
    const strange = await makeTlsRoot('lab.example', Date.now());
    const unknown = openTls(as, { ...trust(), ca: strange.certificate }, {});
    await expect(unknown).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
    const controller = openTls(as, { ...trust(), servername: 'controller.lab.example' }, {});
    await expect(controller).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });
});

describe('a proxy', () => {
  it('is asked for a way to the very server, and not where NO_PROXY exempts it', async () => {
    const proxy = await startProxy(200);
    const HTTPS_PROXY = `http://${LOOPBACK}:${proxy.port}`;
    const socket = await connect([as], { HTTPS_PROXY });
    expect(new X509Certificate(socket.getPeerX509Certificate()!.raw).subjectAltName).toContain(servername);
    expect(proxy.asked).toEqual([`${LOOPBACK}:${as.port}`]);
    socket.destroy();
    (await connect([as], { HTTPS_PROXY, NO_PROXY: LOOPBACK })).destroy();
    expect(proxy.asked).toHaveLength(1);
    proxy.close();
  });

  it.each([
    [403, /^the HTTP proxy 127\.0\.0\.1:\d+ lets nobody to 127\.0\.0\.1:\d+ \(403\); have CONNECT allowed there, or/],
    [407, /^the HTTP proxy 127\.0\.0\.1:\d+ wants another name and password \(407\); put them into HTTPS_PROXY as/],
  ])('that answers %i is named, without credentials, and with what helps', async (status, message) => {
    const proxy = await startProxy(status);
    const error: CyphonicError = await connect([as], {
      https_proxy: `http://user:geheim@${LOOPBACK}:${proxy.port}`,
    }).then(
      () => expect.unreachable(),
      (reason) => reason,
    );
    expect(error.message).toMatch(message);
    expect(`${error.stack} ${JSON.stringify(error.details)}`).not.toMatch(/geheim|Z2VoZWlt/);
    proxy.close();
  });

  it('that is none, or not there, is named too', async () => {
    const odd = await listen(createServer((socket) => socket.end('220 mail.example ESMTP\r\n\r\n')));
    const HTTPS_PROXY = (at: Endpoint) => ({ HTTPS_PROXY: `${at.address}:${at.port}` });
    await expect(connect([as], HTTPS_PROXY(odd))).rejects.toThrow('gives no HTTP answer; check HTTPS_PROXY');
    await expect(connect([as], HTTPS_PROXY(await nowhere()))).rejects.toThrow(
      'cannot be reached (ECONNREFUSED); check HTTPS_PROXY',
    );
  });
});
