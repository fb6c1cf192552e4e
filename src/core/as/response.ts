/** The two kinds of Login Response. */

import type { Certificate } from '../../crypto/certificate.ts';
import type { Device, Network, Service } from '../../lib/device.ts';
import type { Endpoint } from '../../lib/ip.ts';
import { encodePlain } from '../../proto/codec.ts';
import { Suite } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import { MAX_ENDPOINTS, type Refusal } from '../../proto/options.ts';

/** Where a TRS takes datagrams over TLS, if it does. */
export type StreamPlace = Pick<Service, 'address4' | 'address6' | 'tlsPort'>;

const NO_ID = '0'.repeat(32);

export function acceptance(
  transactionId: number,
  device: Device,
  { range4, range6, domain }: Network,
  certificate: Certificate,
  commonKey: Uint8Array,
  nms: Service,
  streams: readonly Endpoint[],
): Uint8Array {
  return encodePlain({
    type: 'loginResponse',
    id: device.nodeId,
    transactionId,
    flags: Flag.response,
    body: {
      cipherType: Suite.aes256Gcm,
      expires: new Date(certificate.notAfter * 1000).toISOString().slice(0, 10),
      virtual4: device.vip4,
      virtual6: device.vip6,
      nms4: nms.address4,
      nms6: nms.address6,
      commonKey,
      fqdn: device.fqdn,
    },
    options: {
      certificate: { certificate: certificate.octets },
      network: {
        prefix4: range4.address,
        length4: range4.length,
        prefix6: range6.address,
        length6: range6.length,
        domain,
      },
      nmsPort: { port: nms.port },
      ...(streams.length > 0 && { streams: { list: streams } }),
    },
  });
}

/** The same for every reason but for the reason itself. */
export function refusal(transactionId: number, reason: Refusal): Uint8Array {
  return encodePlain({
    type: 'loginResponse',
    id: NO_ID,
    transactionId,
    flags: Flag.response | Flag.failure,
    body: {
      cipherType: 0,
      expires: null,
      virtual4: null,
      virtual6: null,
      nms4: null,
      nms6: null,
      commonKey: new Uint8Array(0),
      fqdn: '',
    },
    options: { refusal: { reason } },
  });
}

/** Where devices may speak to TRSs over TLS. */
export function streamsOf(services: readonly StreamPlace[]): Endpoint[] {
  const streams = services.flatMap(({ tlsPort: port, address4, address6 }) =>
    [address4, address6].flatMap((address) => (address === null || port === null ? [] : [{ address, port }])),
  );
  return streams.slice(0, MAX_ENDPOINTS);
}
