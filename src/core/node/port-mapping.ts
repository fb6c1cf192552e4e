/**
 * A port of the router's outer address that leads to ours, for one gateway: by PCP, else NAT-PMP, else UPnP. Renewed at
 * half its life (RFC 6887 section 11.2.1), given back at the end. Whatever the gateway grants is a claim only: whether it
 * is offered to anybody is the node's decision (`NodeContext.offered`).
 *
 * With IPv6 the same question, by PCP alone, opens a firewall for an address of ours, which stays as it is (section 11.1).
 */

import type { Primitives } from '../../crypto/primitives.ts';
import { sameOctets } from '../../lib/bytes.ts';
import { type Address, type Endpoint, type Family, familyOf, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { decodeNatPmpResponse, encodeAddressRequest, encodeMapRequest } from '../../net/nat-pmp.ts';
import {
  decodePcpResponse,
  encodePcpRequest,
  lostState,
  PCP_NONCE,
  PcpResult,
  PORT_CONTROL_PORT,
} from '../../net/pcp.ts';
import {
  addPortMapping,
  decodeSearchAnswer,
  deletePortMapping,
  encodeSearch,
  findControl,
  getExternalAddress,
  readError,
  readExternalAddress,
  SSDP_PORT,
  type UpnpControl,
  UpnpError,
  type UpnpRequest,
} from '../../net/upnp.ts';
import { Timers } from './timers.ts';

export type MappingProtocol = 'pcp' | 'nat-pmp' | 'upnp';

export type MappingAction =
  /** To this UDP port of the gateway, from one socket as long as the machine lives. */
  | { readonly do: 'datagram'; readonly port: number; readonly datagram: Uint8Array }
  /** By HTTP; comes back as `answered`, POST if there is an action. */
  | { readonly do: 'http'; readonly request: UpnpRequest }
  /** Another endpoint than before leads to us, or none any more. */
  | { readonly do: 'mapped'; readonly endpoint: Endpoint | null };

export type MappingOptions = {
  readonly gateway: Address;
  /** Our address in the gateway's network; its family decides what is asked for. */
  readonly client: Address;
  readonly port: number;
};

const protocols: { readonly [F in Family]: readonly MappingProtocol[] } = { 4: ['pcp', 'nat-pmp', 'upnp'], 6: ['pcp'] };
/**
 * What is asked for (s). The RFCs propose hours; a router that forgot everything and said so to nobody is noticed at the
 * next renewal, and what a killed node leaves behind ends soon.
 */
const LIFETIME = 600;
/** No router is asked more often, whatever it grants (RFC 6887 section 11.2.1). */
const MIN_RENEW_MS = 4_000;
/** Waits for an answer, try by try (ms), as RFC 6886 section 3.1 begins. */
const WAITS = [250, 500, 1_000];
const HTTP_WAIT_MS = 5_000;
/** A gateway that knows none of the protocols, or refuses all, is left alone for this long (ms). */
const AGAIN_MS = 10 * 60_000;
/** Outer ports tried where others have them. */
const PORT_TRIES = 4;

type Lease = { readonly endpoint: Endpoint; readonly until: number };

export class PortMapping {
  readonly timers: Timers<'repeat' | 'renew' | 'expire' | 'again'> = new Timers();
  readonly #primitives: Primitives;
  readonly #options: MappingOptions;
  readonly #protocols: readonly MappingProtocol[];
  #actions: MappingAction[] = [];
  #at = 0;
  #asking = false;
  #tries = 0;
  #nonce: Uint8Array;
  #wish: number;
  #lease: Lease | null = null;
  /** The router's clock when it was last heard of. */
  #clock: { readonly epoch: number; readonly ms: number } | null = null;
  #askedAnew = false;
  /** NAT-PMP and UPnP tell address and port separately. */
  #outer: Address | null = null;
  #control: UpnpControl | null = null;
  #description: string | null = null;
  #portTries = 0;
  #permanent = false;
  #released = false;

  constructor(primitives: Primitives, options: MappingOptions) {
    this.#primitives = primitives;
    this.#options = options;
    this.#protocols = protocols[familyOf(options.client)];
    this.#nonce = primitives.random(PCP_NONCE);
    this.#wish = options.port;
  }

  get endpoint(): Endpoint | null {
    return this.#lease?.endpoint ?? null;
  }

  /** Null while none works. */
  get protocol(): MappingProtocol | null {
    return this.#lease === null ? null : this.#protocol;
  }

  get #protocol(): MappingProtocol {
    return this.#protocols[this.#at]!;
  }

  begin(now: Now): MappingAction[] {
    return this.#run(() => this.#start(0, now));
  }

  /** There are signs that the router was started anew, or changed its address. */
  refresh(now: Now): MappingAction[] {
    return this.#run(() => {
      if (this.#asking) return;
      if (this.#lease === null) this.#start(0, now);
      else this.#ask(now);
    });
  }

  /** A datagram from this port of the gateway's address. */
  receive(port: number, datagram: Uint8Array, now: Now): MappingAction[] {
    return this.#run(() => {
      if (this.#released || !this.#asking) return;
      if (this.#protocol === 'upnp') this.#found(datagram, now);
      else if (port !== PORT_CONTROL_PORT) return;
      else if (this.#protocol === 'pcp') this.#heardPcp(datagram, now);
      else this.#heardNatPmp(datagram, now);
    });
  }

  /** Nobody listens there. */
  refused(now: Now): MappingAction[] {
    return this.#run(() => {
      if (this.#asking && this.#protocol !== 'upnp') this.#failed(now);
    });
  }

  /** The answer to an HTTP request; null = there was none. */
  answered(request: UpnpRequest, body: string | null, now: Now): MappingAction[] {
    return this.#run(() => {
      if (this.#released || !this.#asking || this.#protocol !== 'upnp') return;
      if (body === null) this.#failed(now);
      else if (request.action === null) this.#described(body, now);
      else if (request.action.endsWith('#GetExternalIPAddress"')) this.#located(body, now);
      else this.#added(body, now);
    });
  }

  tick(now: Now): MappingAction[] {
    return this.#run(() => {
      for (const timer of this.timers.due(now.ms)) {
        if (timer === 'again') this.#start(0, now);
        else if (timer === 'renew') this.#ask(now);
        else if (timer === 'expire') this.#lost(now);
        else if (this.#tries < WAITS.length) this.#send(now);
        else this.#failed(now);
      }
    });
  }

  /** Gives the port back; said once, as nobody waits for the answer. */
  release(): MappingAction[] {
    return this.#run(() => {
      const { port: internalPort, client } = this.#options;
      const lease = this.#lease;
      this.timers.clearAll();
      this.#released = true;
      if (lease === null) return;
      if (this.#protocol === 'pcp') {
        this.#toControl(
          encodePcpRequest({ client, nonce: this.#nonce, internalPort, wish: lease.endpoint, lifetime: 0 }),
        );
      } else if (this.#protocol === 'nat-pmp') {
        this.#toControl(encodeMapRequest(internalPort, 0, 0));
      } else if (this.#control !== null) {
        this.#actions.push({ do: 'http', request: deletePortMapping(this.#control, lease.endpoint.port) });
      }
    });
  }

  #run(input: () => void): MappingAction[] {
    input();
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  #start(at: number, now: Now): void {
    this.timers.clearAll();
    this.#at = at;
    this.#clock = null;
    this.#control = null;
    this.#wish = this.#options.port;
    this.#portTries = 0;
    this.#permanent = false;
    this.#ask(now);
  }

  #ask(now: Now): void {
    this.timers.clear('renew');
    this.#asking = true;
    this.#tries = 0;
    this.#outer = null;
    this.#description = null;
    if (this.#control === null) this.#send(now);
    else this.#http(getExternalAddress(this.#control), now);
  }

  #send(now: Now): void {
    this.timers.set('repeat', now.ms + WAITS[this.#tries]!);
    this.#tries += 1;
    const { gateway, client, port: internalPort } = this.#options;
    const { address = null, port = this.#wish } = this.#lease?.endpoint ?? {};
    if (this.#protocol === 'pcp') {
      const wish = { address, port };
      this.#toControl(encodePcpRequest({ client, nonce: this.#nonce, internalPort, wish, lifetime: LIFETIME }));
    } else if (this.#protocol === 'nat-pmp') {
      this.#toControl(encodeAddressRequest());
      this.#toControl(encodeMapRequest(internalPort, port, LIFETIME));
    } else {
      this.#actions.push({ do: 'datagram', port: SSDP_PORT, datagram: encodeSearch(gateway) });
    }
  }

  #toControl(datagram: Uint8Array): void {
    this.#actions.push({ do: 'datagram', port: PORT_CONTROL_PORT, datagram });
  }

  #http(request: UpnpRequest, now: Now): void {
    this.timers.set('repeat', now.ms + HTTP_WAIT_MS);
    // Nothing is repeated that goes by TCP.
    this.#tries = WAITS.length;
    this.#actions.push({ do: 'http', request });
  }

  #heardPcp(datagram: Uint8Array, now: Now): void {
    const response = decodePcpResponse(datagram);
    if (response === null) {
      // Who knows NAT-PMP only says so in its own words (RFC 6886 section 3.5).
      if (decodeNatPmpResponse(datagram) !== null) this.#failed(now);
      return;
    }
    if (!sameOctets(response.nonce, this.#nonce) || response.internalPort !== this.#options.port) return;
    if (response.result !== PcpResult.success) this.#failed(now);
    else if (!this.#forgot(response.epoch, now)) this.#granted(response.external, response.lifetime, now);
  }

  #heardNatPmp(datagram: Uint8Array, now: Now): void {
    const response = decodeNatPmpResponse(datagram);
    if (response === null) return;
    if (response.op === 'error' || response.result !== 0) this.#failed(now);
    else if (response.op === 'address') this.#outer = response.address;
    else if (response.internalPort === this.#options.port && this.#outer !== null) {
      const external = { address: this.#outer, port: response.externalPort };
      if (!this.#forgot(response.epoch, now)) this.#granted(external, response.lifetime, now);
    }
  }

  /** Asks again, as a router that lost its state while it answered may have done so before or after it mapped our port. */
  #forgot(epoch: number, now: Now): boolean {
    const clock = { epoch, ms: now.ms };
    // A clock that jumps at each answer would have us ask for ever.
    const lost = this.#clock !== null && !this.#askedAnew && lostState(this.#clock, clock);
    this.#clock = clock;
    this.#askedAnew = lost;
    if (lost) this.#ask(now);
    return lost;
  }

  #found(datagram: Uint8Array, now: Now): void {
    const url = decodeSearchAnswer(datagram, this.#options.gateway);
    if (url === null || this.#description !== null) return;
    this.#description = url;
    this.#http({ url, action: null, body: '' }, now);
  }

  #described(body: string, now: Now): void {
    this.#control = findControl(body, this.#description ?? '', this.#options.gateway);
    if (this.#control === null) this.#failed(now);
    else this.#http(getExternalAddress(this.#control), now);
  }

  #located(body: string, now: Now): void {
    this.#outer = readExternalAddress(body);
    if (this.#outer === null) this.#failed(now);
    else this.#add(now);
  }

  #add(now: Now): void {
    const { client: address, port } = this.#options;
    if (this.#control === null) return;
    const external = this.#lease?.endpoint.port ?? this.#wish;
    const lifetime = this.#permanent ? 0 : LIFETIME;
    this.#http(addPortMapping(this.#control, { external, internal: { address, port }, lifetime }), now);
  }

  #added(body: string, now: Now): void {
    const error = readError(body);
    if (error === null && this.#outer !== null) {
      this.#granted({ address: this.#outer, port: this.#lease?.endpoint.port ?? this.#wish }, LIFETIME, now);
    } else if (error === UpnpError.onlyPermanent && !this.#permanent) {
      this.#permanent = true;
      this.#add(now);
    } else if (error === UpnpError.conflict && this.#lease === null && ++this.#portTries < PORT_TRIES) {
      const [high = 0, low = 0] = this.#primitives.random(2);
      this.#wish = 1024 + (((high << 8) | low) % (65_536 - 1024));
      this.#add(now);
    } else {
      this.#failed(now);
    }
  }

  #granted(endpoint: Endpoint, lifetime: number, now: Now): void {
    if (endpoint.port === 0 || lifetime === 0) {
      this.#failed(now);
      return;
    }
    const lifeMs = Math.max(2 * MIN_RENEW_MS, Math.min(lifetime, LIFETIME) * 1_000);
    const before = this.endpoint;
    this.#asking = false;
    this.#lease = { endpoint, until: now.ms + lifeMs };
    this.timers.clear('repeat');
    this.timers.set('renew', now.ms + lifeMs / 2);
    this.timers.set('expire', now.ms + lifeMs);
    if (before === null || !sameEndpoint(before, endpoint)) this.#actions.push({ do: 'mapped', endpoint });
  }

  /** No answer, or no. What is leased is asked for again while it lasts, otherwise the next protocol. */
  #failed(now: Now): void {
    this.#asking = false;
    this.#description = null;
    this.timers.clear('repeat');
    if (this.#lease !== null) {
      const left = this.#lease.until - now.ms;
      // UPnP: the router may have come back with another URL.
      this.#control = null;
      if (left > MIN_RENEW_MS) this.timers.set('renew', now.ms + Math.max(MIN_RENEW_MS, left / 2));
    } else if (this.#at + 1 < this.#protocols.length) {
      this.#start(this.#at + 1, now);
    } else {
      this.timers.set('again', now.ms + AGAIN_MS);
    }
  }

  #lost(now: Now): void {
    this.#lease = null;
    this.#actions.push({ do: 'mapped', endpoint: null });
    this.#start(0, now);
  }
}
