import { beforeEach, describe, expect, it } from 'vitest';
import { Directory, type Found } from '../../../src/core/nms/directory.ts';
import type { Device, DeviceSelector } from '../../../src/lib/device.ts';
import { Cloud } from '../support/cloud.ts';

const at = (ms: number) => ({ ms, wall: ms });

let directory: Directory;
let device: Device;
let found: Found[];

beforeEach(() => {
  let ticket = 0;
  directory = new Directory(() => ++ticket);
  device = new Cloud().addDevice('a');
  found = [];
});

function find(selector: DeviceSelector, trusted = true, ms = 0): number | undefined {
  const [load] = directory.find(selector, trusted, at(ms), (result) => {
    found.push(result);
    return [];
  });
  return load?.do === 'load' ? load.ticket : undefined;
}

const byName = (value: string): DeviceSelector => ({ by: 'fqdn', value });

describe('the directory', () => {
  it('asks once for the same device, and answers by every name of it', () => {
    const ticket = find(byName(device.fqdn))!;
    expect(find(byName(device.fqdn))).toBeUndefined();
    directory.loaded(ticket, { got: 'device', device }, at(1));
    const names = [
      ['nodeId', device.nodeId],
      ['deviceId', 'a'],
      ['vip', device.vip4!],
      ['vip', device.vip6!],
    ] as const;
    for (const [by, value] of names) expect(find({ by, value })).toBeUndefined();
    expect(found).toEqual(Array(6).fill(device));
  });

  it('keeps the newer record when answer and change overtake each other', () => {
    const first = find(byName(device.fqdn))!;
    directory.loaded(first, { got: 'device', device }, at(0));
    const [reload] = directory.reload(device.nodeId, at(0), () => []);
    const newer: Device = { ...device, state: 'disabled', revision: device.revision + 1 };
    directory.changed(newer);
    directory.loaded((reload as { ticket: number }).ticket, { got: 'device', device }, at(1));
    expect(directory.known(device.nodeId)).toEqual(newer);
  });

  it('remembers what is not there for a moment, and until it is', () => {
    directory.loaded(find(byName(device.fqdn))!, { got: 'device', device: null }, at(0));
    expect(find(byName(device.fqdn), true, 1_000)).toBeUndefined();
    expect(found).toEqual([null, null]);
    directory.changed(device);
    expect(find(byName(device.fqdn), true, 1_000)).toBeDefined();
    directory.loaded(find(byName('b.lab.example'))!, { got: 'device', device: null }, at(0));
    expect(find(byName('b.lab.example'), true, 3_000)).toBeDefined();
  });

  it('lets strangers use up only what is theirs', () => {
    let loads = 0;
    for (let i = 0; i < 5_000; i++) if (find({ by: 'nodeId', value: `stranger ${i}` }, false) !== undefined) loads += 1;
    expect(loads).toBe(512);
    expect(found.every((result) => result === 'busy')).toBe(true);
    expect(find(byName(device.fqdn))).toBeDefined();
  });

  it('asks no faster than it may, however fast the register is', () => {
    let loads = 0;
    for (let i = 0; i < 10_000; i++) {
      const ticket = find({ by: 'nodeId', value: `stranger ${i}` }, false, i / 10);
      if (ticket === undefined) continue;
      loads += 1;
      directory.loaded(ticket, { got: 'device', device: null }, at(i / 10));
    }
    expect(loads).toBeLessThanOrEqual(4_001);
    expect(directory.size).toBeLessThanOrEqual(4_096);
  });

  it('gives up on a register that says nothing', () => {
    const ticket = find(byName(device.fqdn))!;
    directory.tick(at(4_000));
    expect(found).toEqual([]);
    directory.tick(at(5_000));
    expect(found).toEqual(['busy']);
    expect(directory.open).toBe(0);
    expect(directory.loaded(ticket, { got: 'device', device }, at(5_001))).toBeNull();
  });
});
