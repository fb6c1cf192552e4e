/** A device that logs in over real TLS. */

import {
  buildLoginAck,
  buildLoginRequest,
  type LoginOutcome,
  readLoginResponse,
} from '../../../src/core/node/login.ts';
import { generateIdentity, type Identity } from '../../../src/crypto/identity.ts';
import { decodeToken, type EnrolmentToken } from '../../../src/crypto/token.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { type AsConnection, connectAs, fetchTlsRoot } from '../../../src/roles/member/as-connection.ts';
import { readClock } from '../../../src/sys/clock.ts';
import { primitives } from '../../crypto/fixtures.ts';

export class Client {
  readonly token: EnrolmentToken;
  readonly identity: Identity;
  readonly address: string;

  constructor(token: string, address = '127.0.0.1', identity = generateIdentity(primitives)) {
    this.token = decodeToken(token)!;
    this.address = address;
    this.identity = identity;
  }

  async connect(): Promise<AsConnection> {
    const endpoint = { address: this.address, port: this.token.port };
    const route = { network: this.token, environment: {} };
    return connectAs(endpoint, route, await fetchTlsRoot(endpoint, route));
  }

  request(connection: AsConnection, exporter = connection.exporter): Uint8Array {
    return buildLoginRequest(primitives, this.#words(exporter));
  }

  read(connection: AsConnection, octets: Uint8Array): LoginOutcome {
    return readLoginResponse(primitives, this.#words(connection.exporter), this.token.caKey, octets, readClock());
  }

  /** One login by the token's secret, acknowledged if it was accepted. */
  async login(): Promise<LoginOutcome> {
    const connection = await this.connect();
    try {
      connection.send(this.request(connection));
      const outcome = this.read(connection, await connection.receive());
      if (outcome.status === 'accepted') connection.send(buildLoginAck(outcome.session));
      return outcome;
    } finally {
      connection.close();
    }
  }

  #words(exporter: Uint8Array) {
    const { deviceId, secret } = this.token;
    return { deviceId, password: secret, certificate: null, identity: this.identity, exporter };
  }
}

export function reasonOf(outcome: LoginOutcome): string | undefined {
  if (outcome.status !== 'refused') return outcome.status;
  return Object.entries(Refusal).find(([, value]) => value === outcome.reason)?.[0];
}
