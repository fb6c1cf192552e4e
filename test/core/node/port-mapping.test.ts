import { describe, expect, it } from 'vitest';
import { type MappingAction, PortMapping } from '../../../src/core/node/port-mapping.ts';
import { viewOf } from '../../../src/lib/bytes.ts';
import { formatEndpoint, parseAddress } from '../../../src/lib/ip.ts';
import type { Now } from '../../../src/lib/time.ts';
import { encodeMapRequest } from '../../../src/net/nat-pmp.ts';
import { PORT_CONTROL_PORT } from '../../../src/net/pcp.ts';
import { SSDP_PORT } from '../../../src/net/upnp.ts';
import { World } from '../../support/primitives.ts';

const GATEWAY = '10.1.0.1';
const OUTER = '5.9.0.20';
const service = 'urn:schemas-upnp-org:service:WANIPConnection:1';

/** A gateway that knows one of the protocols, and its client in simulated time. */
class Gateway {
  readonly mapping: PortMapping;
  speaks: 'pcp' | 'nat-pmp' | 'upnp' | 'none';
  silent = false;
  outer = OUTER;
  lifetime = 600;
  port = 7444;
  /** When it was started (ms). */
  started = -1_000_000;
  upnpError: (body: string) => number | null = () => null;
  tamper: (response: Uint8Array) => Uint8Array = (response) => response;
  ms = 0;
  readonly asked: string[] = [];
  readonly mapped: string[] = [];

  constructor(speaks: Gateway['speaks'], client = '10.1.0.2') {
    this.speaks = speaks;
    this.mapping = new PortMapping(new World().primitives(), { gateway: GATEWAY, client, port: 7444 });
  }

  get now(): Now {
    return { ms: this.ms, wall: this.ms };
  }

  begin(): void {
    this.perform(this.mapping.begin(this.now));
  }

  /** Lets time pass, timer by timer. */
  run(ms: number): void {
    const end = this.ms + ms;
    for (let next = this.mapping.timers.next; next <= end; next = this.mapping.timers.next) {
      this.ms = Math.max(this.ms, next);
      this.perform(this.mapping.tick(this.now));
    }
    this.ms = end;
  }

  perform(actions: readonly MappingAction[]): void {
    for (const action of actions) {
      if (action.do === 'mapped') {
        this.mapped.push(action.endpoint === null ? 'none' : formatEndpoint(action.endpoint));
      } else if (action.do === 'datagram') {
        this.#datagram(action.port, action.datagram);
      } else {
        const { request } = action;
        this.asked.push(request.action === null ? `GET ${request.url}` : `${/#(\w+)/.exec(request.action)?.[1]}`);
        this.perform(this.mapping.answered(request, this.silent ? null : this.#http(request.body), this.now));
      }
    }
  }

  #datagram(port: number, request: Uint8Array): void {
    const what = port === SSDP_PORT ? 'search' : request[0] === 2 ? `pcp ${viewOf(request).getUint32(4)}` : 'nat-pmp';
    this.asked.push(what);
    if (this.silent) return;
    const answer = this.#answer(port, request);
    if (answer !== null) this.perform(this.mapping.receive(port, this.tamper(answer), this.now));
  }

  #answer(port: number, request: Uint8Array): Uint8Array | null {
    const epoch = Math.floor((this.ms - this.started) / 1000);
    const response = request.slice();
    const view = viewOf(response);
    if (port === SSDP_PORT && this.speaks === 'upnp') {
      return new TextEncoder().encode(`HTTP/1.1 200 OK\r\nLOCATION: http://${GATEWAY}:5000/d.xml\r\n\r\n`);
    }
    if (port !== PORT_CONTROL_PORT) return null;
    if (this.speaks === 'pcp' && request[0] === 2) {
      response[1]! |= 0x80;
      view.setUint32(4, Math.min(view.getUint32(4), this.lifetime));
      view.setUint32(8, epoch);
      view.setUint16(42, this.port);
      const outer = parseAddress(this.outer)!;
      response.set(outer.length === 16 ? outer : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...outer], 44);
      return response;
    }
    if (this.speaks !== 'nat-pmp') return null;
    if (request[0] === 2) return Uint8Array.of(0, 0x81, 0, 1, 0, 0, 0, 0);
    const answer = new Uint8Array(request.length === 2 ? 12 : 16);
    answer[1] = 0x80 | request[1]!;
    viewOf(answer).setUint32(4, epoch);
    if (request.length === 2) answer.set(this.outer.split('.').map(Number), 8);
    else answer.set([...request.subarray(4, 6), this.port >> 8, this.port & 255, 0, 0, 2, 0x58], 8);
    return answer;
  }

  #http(body: string): string {
    if (body === '') return `<service><serviceType>${service}</serviceType><controlURL>/ctl</controlURL></service>`;
    if (body.includes('GetExternalIPAddress')) return `<NewExternalIPAddress>${this.outer}</NewExternalIPAddress>`;
    const error = this.upnpError(body);
    return error === null ? '<u:AddPortMappingResponse/>' : `<errorCode>${error}</errorCode>`;
  }
}

function opened(speaks: Gateway['speaks']): Gateway {
  const gateway = new Gateway(speaks);
  gateway.begin();
  gateway.run(10_000);
  return gateway;
}

describe('a port of the router', () => {
  it.each(['pcp', 'nat-pmp', 'upnp'] as const)('is got by %s, renewed at half life and given back', (speaks) => {
    const gateway = opened(speaks);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`]);
    expect(gateway.mapping.protocol).toBe(speaks);
    const asked = gateway.asked.length;
    gateway.run(280_000);
    expect(gateway.asked).toHaveLength(asked);
    gateway.run(20_000);
    expect(gateway.asked.length).toBeGreaterThan(asked);
    // Nothing is told that is not new.
    gateway.run(3_600_000);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`]);
    gateway.asked.length = 0;
    gateway.perform(gateway.mapping.release());
    expect(gateway.asked).toEqual([{ pcp: 'pcp 0', 'nat-pmp': 'nat-pmp', upnp: 'DeletePortMapping' }[speaks]]);
    expect(gateway.mapping.timers.next).toBe(Number.POSITIVE_INFINITY);
  });

  it('gives a NAT-PMP port back as RFC 6886 section 3.4 says', () => {
    const gateway = opened('nat-pmp');
    const release = gateway.mapping.release()[0];
    expect(release).toEqual({ do: 'datagram', port: PORT_CONTROL_PORT, datagram: encodeMapRequest(7444, 0, 0) });
  });

  it('is asked for again at once when the router started anew', () => {
    const gateway = opened('pcp');
    gateway.run(300_000);
    const asked = gateway.asked.length;
    gateway.started = gateway.ms;
    gateway.outer = '5.9.0.21';
    gateway.perform(gateway.mapping.refresh(gateway.now));
    // The first answer told of the new start, the second one counts.
    expect(gateway.asked).toHaveLength(asked + 2);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`, '5.9.0.21:7444']);
  });

  it('is lost when the router stays silent for its whole life, and found again later', () => {
    const gateway = opened('pcp');
    gateway.silent = true;
    gateway.run(600_000);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`, 'none']);
    expect(gateway.mapping.protocol).toBeNull();
    gateway.silent = false;
    gateway.run(600_000);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`, 'none', `${OUTER}:7444`]);
  });

  it('is asked for rarely where nobody knows of such things', () => {
    const gateway = opened('none');
    expect(gateway.mapped).toEqual([]);
    const first = gateway.asked.length;
    expect(first).toBeLessThan(16);
    gateway.run(3_600_000);
    expect(gateway.asked.length).toBeLessThanOrEqual(7 * first);
  });

  it('is never renewed faster than every four seconds, however short its life', () => {
    const gateway = new Gateway('pcp');
    gateway.lifetime = 1;
    gateway.begin();
    gateway.run(100_000);
    expect(gateway.asked.length).toBeLessThanOrEqual(26);
  });

  it('is asked for once more of a router whose clock jumps, not for ever', () => {
    const gateway = new Gateway('pcp');
    let epoch = 0;
    gateway.tamper = (response) => {
      epoch = epoch === 0 ? 100_000 : 0;
      viewOf(response).setUint32(8, epoch);
      return gateway.asked.length > 100 ? new Uint8Array(0) : response;
    };
    gateway.begin();
    gateway.run(320_000);
    expect(gateway.asked.length).toBeLessThan(8);
    expect(gateway.mapped).toEqual([`${OUTER}:7444`]);
  });

  it('is not believed of an answer to somebody else’s question', () => {
    for (const at of [24, 41]) {
      const gateway = new Gateway('pcp');
      gateway.tamper = (response) => response.with(at, response[at]! ^ 1);
      gateway.begin();
      gateway.run(10_000);
      expect(gateway.mapped, `octet ${at}`).toEqual([]);
    }
    // Nor of one that nobody waits for any more.
    const gateway = opened('pcp');
    expect(gateway.mapping.receive(PORT_CONTROL_PORT, new Uint8Array(60), gateway.now)).toEqual([]);
  });

  it('is another one where somebody has ours, and one without end where there are no others (UPnP)', () => {
    const gateway = new Gateway('upnp');
    gateway.upnpError = (body) => {
      if (!body.includes('<NewLeaseDuration>0<')) return 725;
      return body.includes('<NewExternalPort>7444<') ? 718 : null;
    };
    gateway.begin();
    gateway.run(10_000);
    expect(gateway.mapped).toHaveLength(1);
    expect(gateway.mapped[0]).not.toBe(`${OUTER}:7444`);
    const refusing = new Gateway('upnp');
    refusing.upnpError = () => 718;
    refusing.begin();
    refusing.run(10_000);
    expect(refusing.mapped).toEqual([]);
    expect(refusing.asked.filter((what) => what === 'AddPortMapping')).toHaveLength(4);
  });
});

describe('a firewall for IPv6', () => {
  const own = '2001:db8:1::2';

  it('is opened by PCP for the address as it is, kept open and closed', () => {
    const gateway = new Gateway('pcp', own);
    gateway.outer = own;
    gateway.begin();
    expect(gateway.mapped).toEqual([`[${own}]:7444`]);
    expect(gateway.mapping.protocol).toBe('pcp');
    gateway.run(3_600_000);
    expect(gateway.asked.length).toBeGreaterThan(10);
    expect(gateway.mapped).toEqual([`[${own}]:7444`]);
    gateway.asked.length = 0;
    gateway.perform(gateway.mapping.release());
    expect(gateway.asked).toEqual(['pcp 0']);
  });

  it('is not asked by protocols that only know IPv4', () => {
    const gateway = new Gateway('none', own);
    gateway.begin();
    gateway.run(30 * 60_000);
    expect(new Set(gateway.asked)).toEqual(new Set(['pcp 600']));
    // Every ten minutes, by three datagrams.
    expect(gateway.asked).toHaveLength(9);
    expect(gateway.mapped).toEqual([]);
  });
});
