/** A host's port mapper alone: `port-mapper.ts GATEWAY PORT [CLIENT]`, with a client by IPv6; prints what leads to it. A line on stdin has it look again. */

import { createInterface } from 'node:readline';
import { nodePrimitives } from '../../../src/crypto/node.ts';
import { Counters } from '../../../src/lib/counters.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { PortMapper } from '../../../src/roles/member/port-mapper.ts';
import { evpAead } from '../../../src/sys/evp.ts';

const [gateway = '', port = '', client] = process.argv.slice(2);
const mapper = new PortMapper({
  primitives: nodePrimitives(evpAead),
  log: silentLog,
  counters: new Counters(),
  port: Number(port),
  router4: () => (client === undefined ? { gateway } : null),
  router6: () => (client === undefined ? null : { gateway, client }),
  mapped: (endpoint) =>
    console.log(endpoint === null ? 'none' : `${endpoint.address}:${endpoint.port} by ${mapper.protocol}`),
});
const lines = createInterface(process.stdin).on('line', () => mapper.update());
mapper.update();
process.on('SIGTERM', async () => {
  await mapper.close();
  lines.close();
  process.stdin.destroy();
});
