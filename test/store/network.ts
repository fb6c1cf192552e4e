import type { Network, NewDevice, RegisterChange } from '../../src/lib/device.ts';
import { parsePrefix } from '../../src/lib/ip.ts';

export const network: Network = {
  domain: 'lab.example',
  range4: parsePrefix('100.80.0.0/16')!,
  range6: parsePrefix('fd00:1:2:3::/64')!,
};

export const hashText = 'scrypt$14$8$5$c2FsdA$aGFzaA';

export function newDevice(deviceId: string, more: Partial<NewDevice> = {}): NewDevice {
  return {
    deviceId,
    groups: [],
    adapter: null,
    mac: null,
    auth: 'token',
    mode: 'dual',
    secretHash: hashText,
    secretExpires: 2_000_000_000_000,
    trustedCa: null,
    ...more,
  };
}

export function key(value: number): Uint8Array {
  return new Uint8Array(32).fill(value);
}

export function login(deviceId: string, value: number, mayPin = true): Extract<RegisterChange, { set: 'login' }> {
  return {
    set: 'login',
    deviceId,
    mayPin,
    signKey: key(value),
    handshakeKey: key(value + 1),
    certificate: new Uint8Array([value & 255, 1, 2]),
    pendingCommonKey: key(value + 2),
    keyExpires: 1_900_000_000_000,
  };
}
