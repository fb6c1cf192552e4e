/**
 * A data plane with keys installed by hand, no control plane: `data-plane.ts HOST OPTIONS`, host number 1 or 2, options
 * as JSON. Prints `ready`, and when it is stopped what it counted.
 */

import { execFileSync } from 'node:child_process';
import { silentLog } from '../../../src/lib/log.ts';
import { openDataPlane } from '../../../src/pipeline/dataplane.ts';
import { overlay, PATH, real, virtual } from '../../pipeline/pair.ts';

const [hostNumber = '1', json = '{}'] = process.argv.slice(2);
const host = Number(hostNumber);
const peer = 3 - host;
const { suite = 2, partialChecksum = false, without = [], workers = 0, ioThreads, mtu = 1400 } = JSON.parse(json);

const plane = await openDataPlane({
  port: 7444,
  portIsDefault: false,
  overlay,
  local: Object.values(virtual(host)),
  log: silentLog,
  onEvent() {},
  onFailure(error) {
    throw error;
  },
  without,
  workers,
  ioThreads,
});
const ip = (command: string): unknown => execFileSync('ip', command.split(' '));
ip(`link set ${plane.interfaceName} mtu 1400 up`);
ip(`address add ${virtual(host).vip4}/16 dev ${plane.interfaceName}`);
ip(`-6 address add ${virtual(host).vip6}/64 dev ${plane.interfaceName} nodad`);
plane.command({ do: 'installPath', pathId: PATH, local: virtual(host), peer: virtual(peer) });
const [sendKey, receiveKey] = [host, peer].map((n) => new Uint8Array(32).fill(n)) as [Uint8Array, Uint8Array];
plane.command({
  do: 'installKey',
  pathId: PATH,
  epoch: 1,
  suite,
  sendKey,
  receiveKey,
  activate: true,
  partialChecksum,
  ecn: partialChecksum,
  parts: true,
});
plane.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(peer), relayed: false });
plane.command({ do: 'setMtu', pathId: PATH, mtu });
plane.command({ do: 'route', local: virtual(host), peer: virtual(peer), pathId: PATH });
console.log('ready');

// A timer, as the I/O threads alone don't keep this from ending.
const life = setInterval(() => {}, 60_000);
process.on('SIGTERM', async () => {
  const { offload, drops } = plane;
  console.log(JSON.stringify({ offload, drops, traffic: plane.traffic()[0] }));
  clearInterval(life);
  await plane.close();
});
