/** A device as the register has it after its first login, with keys that nobody holds. */

import type { Primitives } from '../../../src/crypto/primitives.ts';
import { type Device, fqdnOf } from '../../../src/lib/device.ts';

export function enrolledDevice(
  primitives: Primitives,
  deviceId: string,
  domain: string,
  { vip4, vip6 }: Pick<Device, 'vip4' | 'vip6'>,
): Omit<Device, 'revision'> {
  return {
    deviceId,
    nodeId: primitives.random(16).toHex(),
    fqdn: fqdnOf(deviceId, domain),
    vip4,
    vip6,
    groups: [],
    kind: 'node',
    adapter: null,
    mac: null,
    auth: 'token',
    mode: 'dual',
    state: 'enrolled',
    signKey: primitives.random(32),
    handshakeKey: primitives.random(32),
    certificate: primitives.random(200),
    commonKey: primitives.random(32),
    pendingCommonKey: null,
    keyExpires: null,
    lastSeen: null,
  };
}
