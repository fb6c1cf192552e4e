/** Whether the kernel merges what an interface receives into larger packets (GRO): ioctl(2) by linux/ethtool.h. */

import { check, libc } from './libc.ts';
import { allocate } from './memory.ts';
import { setAddress } from './vectors.ts';

const SIOCETHTOOL = 0x8946;
/** ETHTOOL_GGRO, ETHTOOL_SGRO */
const Command = { get: 0x2b, set: 0x2c } as const;
/** struct ifreq: name 16, pointer 64, to a struct ethtool_value: command 32, value 32. */
const NAME_ROOM = 16;
const REQUEST = 40;
/** AF_INET, SOCK_DGRAM | SOCK_CLOEXEC: any socket will do. */
const ANY_SOCKET = [2, 2 | 0o2000000] as const;

function ask(interfaceName: string, command: number, value: number): number {
  const { view, bytes, address } = allocate(REQUEST + 8);
  bytes.set(Buffer.from(interfaceName).subarray(0, NAME_ROOM - 1));
  setAddress(view, NAME_ROOM, address + REQUEST);
  view.setUint32(REQUEST, command, true);
  view.setUint32(REQUEST + 4, value, true);
  const fd = check(libc().socket(...ANY_SOCKET, 0), 'socket');
  try {
    check(libc().ioctl(fd, SIOCETHTOOL, address), `ioctl SIOCETHTOOL on ${interfaceName}`);
    return view.getUint32(REQUEST + 4, true);
  } finally {
    libc().close(fd);
  }
}

export function mergesReceived(interfaceName: string): boolean {
  return ask(interfaceName, Command.get, 0) !== 0;
}

export function setMergesReceived(interfaceName: string, on: boolean): void {
  ask(interfaceName, Command.set, on ? 1 : 0);
}
