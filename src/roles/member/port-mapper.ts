/**
 * Asks the router in front of this host for a port (core/node/port-mapping.ts), by IPv4 as long as there is a NAT in
 * between, and to let its firewall through to our IPv6 address. Only the default gateway is asked, and only its own address
 * is heard.
 */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { type MappingAction, type MappingProtocol, PortMapping } from '../../core/node/port-mapping.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { Counters } from '../../lib/counters.ts';
import { type Address, type Endpoint, familyOf, formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { PORT_CONTROL_PORT } from '../../net/pcp.ts';
import { MAX_UPNP_BODY, SSDP_PORT, type UpnpRequest } from '../../net/upnp.ts';
import { readClock } from '../../sys/clock.ts';

/** The address has the name of its link where it counts on that alone; `client`: ours, by default what the kernel takes. */
export type DefaultRouter = { readonly gateway: string; readonly client?: Address };

export type PortMapperOptions = {
  readonly primitives: Primitives;
  readonly log: Log;
  readonly counters: Counters;
  /** The port of ours that the router's shall lead to. */
  readonly port: number;
  /** Whom to ask, if there is anything to be overcome. */
  readonly router4: () => DefaultRouter | null;
  readonly router6: () => DefaultRouter | null;
  /** By IPv4. What is opened for IPv6 is our own address, or where the NMS sees us: peers know both anyway. */
  readonly mapped: (endpoint: Endpoint | null) => void;
};

type AskerOptions = Omit<PortMapperOptions, 'router4' | 'router6'> & { readonly router: () => DefaultRouter | null };

/** How long giving the port back may hold up the end of the daemon (ms). */
const FAREWELL_MS = 1_000;
const HTTP_TIMEOUT_MS = 4_000;

export class PortMapper {
  readonly #askers: readonly Asker[];

  constructor({ router4, router6, mapped, ...options }: PortMapperOptions) {
    this.#askers = [
      new Asker({ ...options, router: router4, mapped }),
      new Asker({ ...options, router: router6, mapped: () => {} }),
    ];
  }

  /** By which a router does something for us. */
  get protocol(): MappingProtocol | null {
    return this.#askers.find(({ protocol }) => protocol !== null)?.protocol ?? null;
  }

  /** The network changed, or we are seen from elsewhere: a new router, or the old one started anew. */
  update(): void {
    for (const asker of this.#askers) asker.update();
  }

  async close(): Promise<void> {
    await Promise.all(this.#askers.map((asker) => asker.close()));
  }
}

/** By one family. */
class Asker {
  readonly #options: AskerOptions;
  #conversation: Conversation | null = null;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: AskerOptions) {
    this.#options = options;
  }

  get protocol(): MappingProtocol | null {
    return this.#conversation?.mapping.protocol ?? null;
  }

  update(): void {
    this.#turn = this.#turn.then(() => this.#update()).catch((error) => this.#options.log.debug(String(error)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
    await this.#conversation?.close();
  }

  async #update(): Promise<void> {
    if (this.#closed) return;
    const { gateway = null, client = gateway && (await sourceTowards(gateway)) } = this.#options.router() ?? {};
    const current = this.#conversation;
    if (current !== null && current.gateway === gateway && current.client === client) {
      current.refresh();
      return;
    }
    if (current !== null && current.mapping.endpoint !== null) this.#options.mapped(null);
    this.#conversation = null;
    await current?.close();
    if (gateway !== null && client !== null) {
      this.#conversation = await Conversation.open(this.#options, gateway, client);
    }
  }
}

/** With one gateway. */
class Conversation {
  readonly gateway: string;
  readonly client: Address;
  readonly mapping: PortMapping;
  readonly #options: AskerOptions;
  readonly #sockets = new Map<number, Socket>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(options: AskerOptions, gateway: string, client: Address) {
    this.#options = options;
    this.gateway = gateway;
    this.client = client;
    this.mapping = new PortMapping(options.primitives, { gateway, client, port: options.port });
  }

  static async open(options: AskerOptions, gateway: string, client: Address): Promise<Conversation> {
    const conversation = new Conversation(options, gateway, client);
    const ports = familyOf(client) === 4 ? [PORT_CONTROL_PORT, SSDP_PORT] : [PORT_CONTROL_PORT];
    for (const port of ports) await conversation.#listen(port);
    conversation.#perform(conversation.mapping.begin(readClock()));
    return conversation;
  }

  refresh(): void {
    this.#perform(this.mapping.refresh(readClock()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const farewell = Promise.all(
      this.mapping.release().map((action) => {
        if (action.do === 'http') return fetchText(action.request, FAREWELL_MS);
        return action.do === 'datagram' ? this.#send(action.port, action.datagram) : null;
      }),
    );
    await farewell;
    for (const socket of this.#sockets.values()) socket.close();
  }

  /** A connected socket hears of nobody else, and that nobody listens; answers to a search may come from another port. */
  async #listen(port: number): Promise<void> {
    const socket = createSocket(familyOf(this.client) === 4 ? 'udp4' : 'udp6');
    this.#sockets.set(port, socket);
    socket.on('error', () => this.#perform(this.mapping.refused(readClock())));
    socket.on('message', (datagram, from) => {
      if (from.address === this.gateway) this.#perform(this.mapping.receive(port, datagram, readClock()));
    });
    socket.bind(0, this.client);
    await once(socket, 'listening');
    if (port !== PORT_CONTROL_PORT) return;
    socket.connect(port, this.gateway);
    await once(socket, 'connect');
  }

  #perform(actions: readonly MappingAction[]): void {
    for (const action of actions) {
      if (action.do === 'datagram') void this.#send(action.port, action.datagram);
      else if (action.do === 'http') void this.#ask(action.request);
      else this.#tell(action.endpoint);
    }
    clearTimeout(this.#timer);
    const { next } = this.mapping.timers;
    if (this.#closed || next === Number.POSITIVE_INFINITY) return;
    const delay = Math.max(0, Math.ceil(next - readClock().ms));
    this.#timer = setTimeout(() => this.#perform(this.mapping.tick(readClock())), delay);
  }

  #tell(endpoint: Endpoint | null): void {
    const { log, counters, mapped } = this.#options;
    if (this.#closed) return;
    counters.add(endpoint === null ? 'port-mapping-lost' : `port-mapped-${this.mapping.protocol}`);
    const by = { gateway: this.gateway, by: this.mapping.protocol };
    if (endpoint === null) log.warn('the router forwards no port any more', by);
    else log.info('the router forwards a port', { endpoint: formatEndpoint(endpoint), ...by });
    mapped(endpoint);
  }

  #send(port: number, datagram: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = this.#sockets.get(port);
    // The kernel tells with a later datagram that an earlier one was refused.
    const sent = (error: Error | null): void => {
      resolve();
      if (error !== null) this.#perform(this.mapping.refused(readClock()));
    };
    if (port === PORT_CONTROL_PORT) socket?.send(datagram, sent);
    else socket?.send(datagram, port, this.gateway, sent);
    return promise;
  }

  async #ask(request: UpnpRequest): Promise<void> {
    const body = await fetchText(request, HTTP_TIMEOUT_MS);
    if (!this.#closed) this.#perform(this.mapping.answered(request, body, readClock()));
  }
}

/** The address of ours that the kernel would send from; null without a way there. */
async function sourceTowards(gateway: string): Promise<Address | null> {
  const socket = createSocket('udp4');
  try {
    socket.connect(PORT_CONTROL_PORT, gateway);
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}

/** The body of an answer, also of a refusal; null if there is none in time, or more than anybody needs. */
function fetchText({ url, action, body }: UpnpRequest, timeoutMs: number): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const headers = action === null ? {} : { SOAPAction: action, 'Content-Type': 'text/xml; charset="utf-8"' };
  const signal = AbortSignal.timeout(timeoutMs);
  const request = httpRequest(url, { method: action === null ? 'GET' : 'POST', headers, agent: false, signal });
  request.on('error', () => resolve(null));
  request.on('response', (response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      text += chunk;
      if (text.length > MAX_UPNP_BODY) request.destroy();
    });
    response.on('end', () => resolve(text));
    response.on('close', () => resolve(null));
    response.on('error', () => resolve(null));
  });
  request.end(body);
  return promise;
}
