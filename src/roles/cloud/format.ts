/** Devices as text. */

import type { DeviceView } from '../administration.ts';

/** One device, one line per field. */
export function toLines(device: DeviceView): string[] {
  return Object.entries(device).map(([name, value]) => `${name.padEnd(10)}${text(value)}`);
}

/** All devices, one line each under a heading. */
export function toTable(devices: readonly DeviceView[]): string[] {
  const columns = ['deviceId', 'fqdn', 'vip4', 'vip6', 'kind', 'state', 'online'] as const;
  const headings = ['DEVICE', 'NAME', 'IPV4', 'IPV6', 'KIND', 'STATE', 'ONLINE'];
  const rows = devices.map((device) => columns.map((column) => text(device[column])));
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
