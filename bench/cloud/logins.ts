/** Logins per second at one AS, over TLS: first ones by secret (scrypt) and later ones by certificate. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildLoginAck, buildLoginRequest, readLoginResponse } from '../../src/core/node/login.ts';
import { connectAs } from '../../src/roles/member/as-connection.ts';
import { readNetworkFile } from '../../src/roles/network-files.ts';
import { readClock } from '../../src/sys/clock.ts';
import { addDevices, type Enrolled, primitives } from './population.ts';
import type { Service } from './processes.ts';

export type LoginRate = {
  readonly what: string;
  readonly rate: number;
  readonly cpu: number;
  readonly refused: number;
};

const AT_ONCE = 4;

/** One whole login of a device, TLS and all; false if it was refused. */
export type LogIn = (device: Enrolled, first: boolean) => Promise<boolean>;

export function loginsAt(directory: string, port: number, secret: Uint8Array): LogIn {
  const file = readNetworkFile(join(directory, 'cloud.yaml'));
  const root = new Uint8Array(new X509Certificate(readFileSync(file.tlsRootFile)).raw);
  const address = file.address4!;
  const { domain } = file.network;
  const route = { network: { domain, rootHash: new Uint8Array(32) }, environment: {} };
  const certificates = new Map<string, Uint8Array>();
  return async ({ device, identity }, first) => {
    const connection = await connectAs({ address, port }, route, root);
    try {
      const certificate = first ? null : (certificates.get(device.deviceId) ?? device.certificate!);
      const password = first ? secret : null;
      const request = { deviceId: device.deviceId, password, certificate, identity, exporter: connection.exporter };
      connection.send(buildLoginRequest(primitives, request));
      const outcome = readLoginResponse(primitives, request, file.caPublicKey, await connection.receive(), readClock());
      if (outcome.status !== 'accepted') return false;
      certificates.set(device.deviceId, outcome.session.certificate);
      connection.send(buildLoginAck(outcome.session));
      return true;
    } finally {
      connection.close();
    }
  };
}

export async function measureLogins(directory: string, port: number, count: number, as: Service): Promise<LoginRate[]> {
  const secret = primitives.random(16);
  const devices = await addDevices(directory, 'login', count, secret);
  const logIn = loginsAt(directory, port, secret);

  const measure = async (what: string, first: boolean): Promise<LoginRate> => {
    const queue = [...devices];
    let done = 0;
    const before = as.seconds;
    const began = performance.now();
    const one = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        if (await logIn(next, first).catch(() => false)) done++;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    const rate = (done * 1_000) / (performance.now() - began);
    return { what, rate, cpu: (as.seconds - before) / done, refused: devices.length - done };
  };
  return [await measure('by secret', true), await measure('by certificate', false)];
}
