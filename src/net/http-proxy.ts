/** HTTP proxies as the environment names them, and the CONNECT request that opens a tunnel through one (RFC 9110 section 9.3.6). */

import { canonicalAddress, contains, type Endpoint, formatEndpoint, parsePrefix } from '../lib/ip.ts';

export type HttpProxy = {
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  /** What the proxy wants to know of us; null = nothing. */
  readonly authorization: string | null;
};

export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORT = 80;
/** Longest answer of a proxy before the tunnel begins. */
const MAX_ANSWER = 8_192;

/** The proxy on the way to an address, null = none. Raises nothing: what is no URL of an HTTP proxy is no proxy. */
export function proxyFor(environment: ProxyEnvironment, { address }: Endpoint): HttpProxy | null {
  const read = (name: string): string => environment[name] ?? environment[name.toLowerCase()] ?? '';
  const given = read('HTTPS_PROXY').trim();
  if (given === '' || isExempt(read('NO_PROXY'), address)) return null;
  const url = URL.parse(given.includes('://') ? given : `http://${given}`);
  if (url === null || url.protocol !== 'http:' || url.hostname === '') return null;
  const name = decoded(url.username);
  const password = decoded(url.password);
  if (name === null || password === null) return null;
  const credentials = `${name}:${password}`;
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    authorization: name === '' ? null : `Basic ${Buffer.from(credentials).toString('base64')}`,
  };
}

/** Null if its escapes are none. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** NO_PROXY: addresses and ranges, separated by commas; `*` = all. Services are known by address, so names never fit. */
function isExempt(list: string, address: string): boolean {
  return list.split(',').some((entry) => {
    const text = entry.trim();
    if (text === '*') return true;
    const range = text.includes('/') ? parsePrefix(text) : null;
    return range === null ? canonicalAddress(text.replace(/^\[(.*)\]$/, '$1')) === address : contains(range, address);
  });
}

export function connectRequest(to: Endpoint, { authorization }: HttpProxy): string {
  const host = formatEndpoint({ address: to.address, port: to.port });
  const lines = [`CONNECT ${host} HTTP/1.1`, `Host: ${host}`];
  if (authorization !== null) lines.push(`Proxy-Authorization: ${authorization}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

export type ConnectAnswer =
  /** Not whole yet. */
  | null
  /** `rest`: what came through the tunnel already. */
  | { readonly status: number; readonly rest: Uint8Array };

/** The proxy's answer; status 0: it is none. */
export function readConnectAnswer(octets: Uint8Array): ConnectAnswer {
  const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return octets.length > MAX_ANSWER ? { status: 0, rest: new Uint8Array(0) } : null;
  const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(text)?.[1] ?? 0);
  return { status, rest: octets.subarray(end + 4) };
}
