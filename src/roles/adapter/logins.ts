/**
 * Logins of general nodes (protocol section 5.3): on a connection to the AS on which the adapter has proved itself first,
 * one after the other.
 */

import type { Proof, RegisteredDevice } from '../../core/adapter/types.ts';
import { buildLoginAck, buildLoginRequest, type LoginRequest, readLoginResponse } from '../../core/node/login.ts';
import type { Session } from '../../core/node/types.ts';
import type { Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { parseMac } from '../../lib/mac.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import { readClock } from '../../sys/clock.ts';
import type { AsConnection } from '../member/as-connection.ts';
import { sessionOf, withAs } from '../member/login.ts';
import type { DaemonState } from '../member/state.ts';

/** How long the connection is kept for the next one: a site comes up as a whole. */
const KEEP_MS = 2_000;

type Open = { readonly connection: AsConnection; exchanges: number };

export class GeneralLogins {
  readonly #state: () => DaemonState;
  readonly #environment: ProxyEnvironment;
  readonly #primitives: Primitives;
  #queue: Promise<unknown> = Promise.resolve();
  #open: Open | null = null;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(state: () => DaemonState, environment: ProxyEnvironment, primitives: Primitives) {
    this.#state = state;
    this.#environment = environment;
    this.#primitives = primitives;
  }

  /** One login; `save` has the session survive a crash before it is acknowledged. Raises as `logIn` does. */
  logIn(
    device: RegisteredDevice,
    identity: Identity,
    proof: Proof,
    save: (session: Session) => void,
  ): Promise<Session> {
    const turn = this.#queue.then(() => this.#logIn(device, identity, proof, save));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  async #logIn(
    { deviceId, mode }: RegisteredDevice,
    identity: Identity,
    proof: Proof,
    save: (session: Session) => void,
  ): Promise<Session> {
    clearTimeout(this.#idle);
    const open = await this.#connected();
    try {
      const session = await this.#exchange(open, { deviceId, mode, identity, ...evidenceOf(proof) }, save);
      this.#idle = setTimeout(() => this.#drop(), KEEP_MS);
      return session;
    } catch (error) {
      // After a refusal the connection is as good as before.
      const refused = error instanceof CyphonicError && error.code.startsWith('REFUSED_');
      if (refused) this.#idle = setTimeout(() => this.#drop(), KEEP_MS);
      else this.#drop();
      throw refused || error instanceof CyphonicError ? error : unreachable(error);
    }
  }

  async #connected(): Promise<Open> {
    if (this.#closed) raise('SYS_UNREACHABLE', { why: 'the adapter stops' });
    if (this.#open !== null) return this.#open;
    const { network, tlsRoot, session, identity } = this.#state();
    if (tlsRoot === null || session === null) return raise('SYS_UNREACHABLE', { why: 'not logged in' });
    this.#open = await withAs({ network, tlsRoot }, this.#environment, async (connection) => {
      const open = { connection, exchanges: 0 };
      // Not acknowledged: the adapter's own session stays as it is.
      const { deviceId } = network;
      await this.#exchange(open, { deviceId, identity, password: null, certificate: session.certificate }, null);
      return open;
    });
    return this.#open;
  }

  async #exchange(
    open: Open,
    said: Omit<LoginRequest, 'exporter'>,
    save: ((session: Session) => void) | null,
  ): Promise<Session> {
    const { connection } = open;
    const { caKey } = this.#state().network;
    const number = ++open.exchanges;
    const request = { ...said, exporter: connection.exporter };
    connection.send(buildLoginRequest(this.#primitives, request, number));
    const answer = await connection.receive();
    const outcome = readLoginResponse(this.#primitives, request, caKey, answer, readClock(), number);
    const session = sessionOf(outcome, said.deviceId, connection.endpoint);
    if (save === null) return session;
    save(session);
    connection.send(buildLoginAck(session, number));
    return session;
  }

  #drop(): void {
    clearTimeout(this.#idle);
    this.#open?.connection.close();
    this.#open = null;
  }
}

function evidenceOf(proof: Proof): Pick<LoginRequest, 'password' | 'certificate' | 'mac'> {
  switch (proof.kind) {
    case 'mac':
      return { password: null, certificate: null, mac: parseMac(proof.mac) };
    case 'password':
      return { password: proof.password, certificate: null };
    case 'certificate':
      return { password: null, certificate: proof.proof };
  }
}

function unreachable(error: unknown): CyphonicError {
  return new CyphonicError('SYS_UNREACHABLE', { why: (error as Error).message }, error);
}
