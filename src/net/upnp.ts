/**
 * UPnP Internet Gateway Device: the few messages that give a device a port of its router (UPnP Device Architecture 1.1,
 * WANIPConnection:2). Of the XML only the named elements are looked for, in text of bounded length.
 */

import { type Address, canonicalAddress, type Endpoint } from '../lib/ip.ts';

export const SSDP_PORT = 1900;
/** Longest description or answer that is read. */
export const MAX_UPNP_BODY = 1 << 16;

/** Where a gateway takes orders, and the name of the service. */
export type UpnpControl = { readonly url: string; readonly service: string };
export type UpnpRequest = { readonly url: string; readonly action: string | null; readonly body: string };

/** UPnP error codes: a mapping of somebody else is there; only mappings without end; the outer port must be the inner. */
export const UpnpError = { conflict: 718, onlyPermanent: 725, samePort: 724 } as const;

const services = ['WANIPConnection:2', 'WANIPConnection:1', 'WANPPPConnection:1'].map(
  (name) => `urn:schemas-upnp-org:service:${name}`,
);

/** An M-SEARCH to one device itself (section 1.3.2), so that nobody else on the link is asked or can answer. */
export function encodeSearch(gateway: Address): Uint8Array {
  const lines = [
    'M-SEARCH * HTTP/1.1',
    `HOST: ${gateway}:${SSDP_PORT}`,
    'MAN: "ssdp:discover"',
    'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1',
    '',
    '',
  ];
  return new TextEncoder().encode(lines.join('\r\n'));
}

/** The description's URL out of an answer to a search, if it is on the gateway itself. */
export function decodeSearchAnswer(octets: Uint8Array, gateway: Address): string | null {
  const [status = '', ...lines] = new TextDecoder().decode(octets).split('\r\n');
  if (!/^HTTP\/1\.[01] 200\b/.test(status)) return null;
  const location = lines
    .map((line) => /^location:[ \t]*(\S+)[ \t]*$/i.exec(line)?.[1])
    .find((url) => url !== undefined);
  return location === undefined ? null : onGateway(location, undefined, gateway);
}

/** The first of the services that can map ports, in the order of their generations. */
export function findControl(description: string, base: string, gateway: Address): UpnpControl | null {
  const offered = description.split(/<service>/i).map((part) => part.split(/<\/service>/i)[0]!);
  for (const service of services) {
    const part = offered.find((text) => element(text, 'serviceType') === service);
    const control = part === undefined ? null : element(part, 'controlURL');
    const url = control === null ? null : onGateway(control, element(description, 'URLBase') ?? base, gateway);
    if (url !== null) return { url, service };
  }
  return null;
}

export type UpnpMapping = {
  readonly external: number;
  readonly internal: Endpoint;
  /** Seconds; 0 = without end. */
  readonly lifetime: number;
};

export function addPortMapping(control: UpnpControl, { external, internal, lifetime }: UpnpMapping): UpnpRequest {
  return order(control, 'AddPortMapping', {
    NewRemoteHost: '',
    NewExternalPort: external,
    NewProtocol: 'UDP',
    NewInternalPort: internal.port,
    NewInternalClient: internal.address,
    NewEnabled: 1,
    NewPortMappingDescription: 'CYPHONIC',
    NewLeaseDuration: lifetime,
  });
}

export function deletePortMapping(control: UpnpControl, external: number): UpnpRequest {
  return order(control, 'DeletePortMapping', {
    NewRemoteHost: '',
    NewExternalPort: external,
    NewProtocol: 'UDP',
  });
}

export function getExternalAddress(control: UpnpControl): UpnpRequest {
  return order(control, 'GetExternalIPAddress', {});
}

export function readExternalAddress(answer: string): Address | null {
  return canonicalAddress(element(answer, 'NewExternalIPAddress') ?? '');
}

/** The error code in a refusal; null if there is none. */
export function readError(answer: string): number | null {
  const code = element(answer, 'errorCode');
  return code !== null && /^\d{3}$/.test(code) ? Number(code) : null;
}

/** Values are numbers and addresses, which need no escapes. */
function order({ url, service }: UpnpControl, action: string, values: Record<string, string | number>): UpnpRequest {
  const inner = Object.entries(values).map(([name, value]) => `<${name}>${value}</${name}>`);
  const body = [
    '<?xml version="1.0"?>',
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">',
    `<s:Body><u:${action} xmlns:u="${service}">${inner.join('')}</u:${action}></s:Body>`,
    '</s:Envelope>',
  ];
  return { url, action: `"${service}#${action}"`, body: body.join('\r\n') };
}

/** The text of the first element of this name; none of those looked for has attributes or children. */
function element(text: string, name: string): string | null {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]?.trim() ?? null;
}

/** A URL of the gateway by plain HTTP, without a name and an account in it; nothing else is asked, whatever it says. */
function onGateway(text: string, base: string | undefined, gateway: Address): string | null {
  if (!URL.canParse(text, base)) return null;
  const url = new URL(text, base);
  return url.protocol === 'http:' && url.hostname === gateway && url.username === '' ? url.href : null;
}
