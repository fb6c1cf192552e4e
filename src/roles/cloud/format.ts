/** Devices as users and scripts see them. */

import type { Device } from '../../lib/device.ts';
import { PRESENCE_MS } from '../../proto/constants.ts';

/** The fields scripts rely on; they may grow, never shrink. */
export function toJson(device: Device, wall = Date.now()): Record<string, unknown> {
  const { deviceId, nodeId, fqdn, vip4, vip6, groups, kind, adapter, mac, auth, mode, state, lastSeen } = device;
  return {
    deviceId,
    nodeId,
    fqdn,
    vip4,
    vip6,
    groups,
    kind,
    adapter,
    mac,
    auth,
    mode,
    state,
    online: lastSeen !== null && wall - lastSeen < PRESENCE_MS,
    lastSeen: lastSeen === null ? null : new Date(lastSeen).toISOString(),
  };
}

/** One device, one line per field. */
export function toLines(device: Device): string[] {
  return Object.entries(toJson(device)).map(([name, value]) => `${name.padEnd(10)}${text(value)}`);
}

/** All devices, one line each under a heading. */
export function toTable(devices: readonly Device[]): string[] {
  const columns = ['deviceId', 'fqdn', 'vip4', 'vip6', 'kind', 'state', 'online'] as const;
  const headings = ['DEVICE', 'NAME', 'IPV4', 'IPV6', 'KIND', 'STATE', 'ONLINE'];
  const rows = devices.map((device) => {
    const json = toJson(device);
    return columns.map((column) => text(json[column]));
  });
  const lines = [headings, ...rows];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
}

function text(value: unknown): string {
  if (value === null) return '-';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return Array.isArray(value) ? value.join(' ') || '-' : String(value);
}
