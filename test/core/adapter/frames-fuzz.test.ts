/** Whatever frame comes, in whatever state a device is: the adapter's machine takes note of it or drops it, and goes on. */

import { it } from 'vitest';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeIp, encodeUdp } from '../../../src/net/datagram.ts';
import { encodeEap } from '../../../src/net/eap.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType } from '../../../src/net/ethernet.ts';
import { encodeNdp, solicitedNode } from '../../../src/net/ndp.ts';
import { noNdpOptions } from '../../../src/net/ndp-options.ts';
import { camera, cameraMac, gateway4, gateway6, remote } from '../../net/support/link.ts';
import fc from '../../support/property.ts';
import { AdapterBench } from './bench.ts';

const { ipv4, ipv6, arp, eapol } = EtherType;
const hello = encodeArp({
  operation: 'request',
  senderMac: cameraMac,
  senderAddress: camera.vip4,
  targetMac: '00:00:00:00:00:00',
  targetAddress: gateway4,
});

/** Packets of the camera with any payload. */
const ways = [
  [ipv4, camera.vip4, gateway4],
  [ipv4, camera.vip4, remote.vip4],
  [ipv4, camera.vip4, '192.0.2.1'],
  [ipv6, camera.vip6, gateway6],
  [ipv6, camera.vip6, remote.vip6],
  [ipv6, camera.vip6, '2001:db8::1'],
] as const;
const payload = fc.uint8Array({ maxLength: 100 });
const packet = fc
  .tuple(
    fc.constantFrom(...ways),
    fc.constantFrom(1, 17, 58),
    fc.constantFrom(8, 128, 135),
    fc.uint8Array({ maxLength: 12 }),
  )
  .map(([[etherType, source, destination], protocol, first, rest]) => {
    const content = Uint8Array.of(first, ...rest).subarray(rest.length % 3 === 0 ? 1 : 0);
    return { etherType, payload: encodeIp({ source, destination, protocol, hopLimit: 255, payload: content }) };
  });
const datagram = fc
  .tuple(fc.constantFrom(...ways), fc.constantFrom(53, 67, 68, 546, 547), payload)
  .map(([[etherType, source, destination], destinationPort, octets]) => {
    const ports = { sourcePort: 1_024, destinationPort };
    return { etherType, payload: encodeUdp({ source, destination, ...ports, payload: octets }) };
  });
const solicitation = encodeNdp(
  { type: 'neighbourSolicitation', target: gateway6, options: noNdpOptions },
  camera.vip6,
  solicitedNode(gateway6),
);
const response = payload.map((data) => encodeEapol('packet', encodeEap({ code: 'response', id: 129, type: 21, data })));
const frame = fc
  .tuple(
    fc.oneof(
      packet,
      datagram,
      response.map((pdu) => ({ etherType: eapol, payload: pdu })),
      fc.constantFrom({ etherType: arp, payload: hello }, { etherType: ipv6, payload: solicitation }),
      fc.record({ etherType: fc.constantFrom(ipv4, ipv6, arp, eapol), payload }),
    ),
    fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 2, size: '-1' }),
    fc.oneof(fc.constant(200), fc.nat(200)),
  )
  .map(([{ etherType, payload: octets }, changes, length]) => {
    const spoilt = octets.slice(0, length);
    for (const [at, value] of changes) if (at < spoilt.length) spoilt[at] = value;
    return { etherType, payload: spoilt };
  });

it.each(['mac', 'password', 'certificate'] as const)('by %s', (auth) => {
  const bench = new AdapterBench(auth);
  bench.frame({ etherType: arp, payload: hello });
  bench.answer();
  bench.decide('accepted');
  fc.assert(
    fc.property(frame, (any) => bench.frame(any)),
    { numRuns: 5_000 },
  );
});
