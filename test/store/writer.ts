/** A process that adds devices and logs them in as fast as it can, naming each change after it was answered for. */

import { openSqlite } from '../../src/store/sqlite.ts';
import { login, network, newDevice } from './network.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const register = openSqlite(file, network);
for (let i = 0; ; i++) {
  const deviceId = `${prefix}${i}`;
  const device = await register.add(newDevice(deviceId));
  process.stdout.write(`added ${deviceId} ${device.vip4}\n`);
  const result = await register.change(login(deviceId, i));
  process.stdout.write(`${result} ${deviceId} ${i}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
