import { describe, expect, it } from 'vitest';
import { decodeNatPmpResponse, encodeAddressRequest, encodeMapRequest } from '../../src/net/nat-pmp.ts';
import { decodePcpResponse, encodePcpRequest, lostState } from '../../src/net/pcp.ts';
import {
  addPortMapping,
  decodeSearchAnswer,
  findControl,
  readError,
  readExternalAddress,
  type UpnpControl,
} from '../../src/net/upnp.ts';
import fc from '../support/property.ts';

const GATEWAY = '10.1.0.1';
const nonce = Uint8Array.from({ length: 12 }, (_, i) => i);

function pcpResponse(): Uint8Array {
  const hex = `02810000 00000258 00003039 ${'00'.repeat(12)} ${nonce.toHex()} 11000000 1d14 1d15 ${'00'.repeat(10)}ffff c6336414`;
  return Uint8Array.fromHex(hex.replaceAll(' ', ''));
}

describe('PCP', () => {
  it('asks as RFC 6887 section 11.1 draws it', () => {
    const request = {
      client: '10.1.0.2',
      nonce,
      internalPort: 7444,
      wish: { address: null, port: 7445 },
      lifetime: 600,
    };
    expect(encodePcpRequest(request).toHex()).toBe(
      `0201000000000258${'00'.repeat(10)}ffff0a010002${nonce.toHex()}110000001d141d15${'00'.repeat(10)}ffff00000000`,
    );
  });

  it('asks for an IPv6 address likewise', () => {
    const client = '2001:db8:1::2';
    const hex = '20010db8000100000000000000000002';
    const ask = (address: string | null) =>
      encodePcpRequest({ client, nonce, internalPort: 7444, wish: { address, port: 7444 }, lifetime: 0 }).toHex();
    expect(ask(null)).toBe(`0201000000000000${hex}${nonce.toHex()}110000001d141d14${'00'.repeat(16)}`);
    expect(ask(client)).toBe(`0201000000000000${hex}${nonce.toHex()}110000001d141d14${hex}`);
    const answer = pcpResponse();
    answer.set(Uint8Array.fromHex(hex), 44);
    expect(decodePcpResponse(answer)?.external).toEqual({ address: client, port: 7445 });
  });

  it('reads an answer, and nothing else', () => {
    const response = pcpResponse();
    expect(decodePcpResponse(response)).toEqual({
      result: 0,
      nonce,
      internalPort: 7444,
      external: { address: '198.51.100.20', port: 7445 },
      lifetime: 600,
      epoch: 12345,
    });
    for (let length = 0; length < response.length; length++)
      expect(decodePcpResponse(response.slice(0, length))).toBeNull();
    for (const [at, octet] of [
      [0, 0],
      [0, 1],
      [1, 1],
      [1, 0x80],
      [36, 6],
    ] as const) {
      expect(decodePcpResponse(response.with(at, octet)), `octet ${at}`).toBeNull();
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 1200 }), (octets) => void decodePcpResponse(octets)));
  });

  it('knows from the epoch that a server lost its state (section 8.5)', () => {
    const before = { epoch: 1000, ms: 0 };
    expect(lostState(before, { epoch: 1300, ms: 300_000 })).toBe(false);
    expect(lostState(before, { epoch: 1299, ms: 301_000 })).toBe(false);
    expect(lostState(before, { epoch: 999, ms: 500 })).toBe(false);
    expect(lostState(before, { epoch: 3, ms: 300_000 })).toBe(true);
    // Started anew, and already older than before.
    expect(lostState(before, { epoch: 1050, ms: 300_000 })).toBe(true);
    expect(lostState(before, { epoch: 2000, ms: 300_000 })).toBe(true);
  });
});

describe('NAT-PMP', () => {
  it('asks as RFC 6886 section 3 draws it', () => {
    expect(encodeAddressRequest().toHex()).toBe('0000');
    expect(encodeMapRequest(7444, 7445, 600).toHex()).toBe('000100001d141d1500000258');
  });

  it('reads both answers and errors, and nothing else', () => {
    const read = (hex: string) => decodeNatPmpResponse(Uint8Array.fromHex(hex));
    expect(read('0080000000003039c6336414')).toEqual({
      op: 'address',
      result: 0,
      epoch: 12345,
      address: '198.51.100.20',
    });
    const map = '00810000000030391d141d1500000258';
    expect(read(map)).toMatchObject({ op: 'map', internalPort: 7444, externalPort: 7445, lifetime: 600 });
    expect(read('0080000100003039')).toEqual({ op: 'error', result: 1 });
    for (let length = 0; length < map.length; length += 2) expect(read(map.slice(0, length))).toBeNull();
    expect(read(`02${map.slice(2)}`)).toBeNull();
    expect(read(`0001${map.slice(4)}`)).toBeNull();
  });
});

describe('UPnP', () => {
  const answer = (location: string) =>
    new TextEncoder().encode(`HTTP/1.1 200 OK\r\nST: x\r\nLocation:  ${location}\r\n\r\n`);

  it('goes to the gateway only, whatever an answer says', () => {
    expect(decodeSearchAnswer(answer(`http://${GATEWAY}:5000/root.xml`), GATEWAY)).toBe(
      `http://${GATEWAY}:5000/root.xml`,
    );
    for (const elsewhere of [
      'http://10.1.0.9:5000/root.xml',
      'https://10.1.0.1/root.xml',
      'http://user@10.1.0.1/root.xml',
      'http://10.1.0.1.evil.example/',
      'http://127.0.0.1/',
      'file:///etc/passwd',
      'root.xml',
    ]) {
      expect(decodeSearchAnswer(answer(elsewhere), GATEWAY), elsewhere).toBeNull();
    }
    expect(decodeSearchAnswer(new TextEncoder().encode('NOTIFY * HTTP/1.1\r\n\r\n'), GATEWAY)).toBeNull();
  });

  const description = (service: string, control: string, more = '') =>
    `<root>${more}<device><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
      <controlURL>/l3</controlURL></service><service><serviceType>${service}</serviceType>
      <controlURL>${control}</controlURL></service></device></root>`;
  const base = `http://${GATEWAY}:5000/root.xml`;

  it('finds the service that maps ports', () => {
    const service = 'urn:schemas-upnp-org:service:WANIPConnection:1';
    expect(findControl(description(service, '/ctl'), base, GATEWAY)).toEqual({
      url: `http://${GATEWAY}:5000/ctl`,
      service,
    });
    expect(findControl(description(service, 'http://192.0.2.1/ctl'), base, GATEWAY)).toBeNull();
    const foreign = description(service, '/ctl', '<URLBase>http://192.0.2.1/</URLBase>');
    expect(findControl(foreign, base, GATEWAY)).toBeNull();
    expect(findControl(description('urn:schemas-upnp-org:service:Printer:1', '/ctl'), base, GATEWAY)).toBeNull();
  });

  it('writes an order and reads what comes of it', () => {
    const control: UpnpControl = {
      url: 'http://10.1.0.1/ctl',
      service: 'urn:schemas-upnp-org:service:WANIPConnection:1',
    };
    const internal = { address: '10.1.0.2', port: 7444 };
    const { action, body } = addPortMapping(control, { external: 7445, internal, lifetime: 600 });
    expect(action).toBe('"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"');
    expect(body).toContain('<NewExternalPort>7445</NewExternalPort><NewProtocol>UDP</NewProtocol>');
    expect(body).toContain('<NewLeaseDuration>600</NewLeaseDuration>');
    expect(readExternalAddress('<NewExternalIPAddress>198.51.100.20</NewExternalIPAddress>')).toBe('198.51.100.20');
    expect(readExternalAddress('<NewExternalIPAddress></NewExternalIPAddress>')).toBeNull();
    expect(readError('<errorCode>718</errorCode>')).toBe(718);
    expect(readError('<u:AddPortMappingResponse/>')).toBeNull();
  });
});
