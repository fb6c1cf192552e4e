/** `npm run bench:startup`: how long a node takes to come up, and a first ping by name, directly and through the relay. */

import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import { Network, type Node } from '../test/lab/toolkit/network.ts';

const rounds = 5;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** The system's ping by name for the first time, without what starting and ending a ping costs anyway. */
async function firstPing(from: Node, to: Node): Promise<number> {
  const cost = await timed(() => from.systemPing('127.0.0.1'));
  return (await timed(() => from.systemPing(to.fqdn))) - cost;
}

async function main(): Promise<void> {
  const reason = whyNoLab();
  if (reason !== null) throw new Error(`no laboratory: ${reason}`);
  const lab = new Lab('startup');
  const times = { enrol: [] as number[], restart: [] as number[], direct: [] as number[], relay: [] as number[] };
  try {
    const internet = lab.internet();
    const network = await Network.start(
      lab,
      lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' }),
    );
    const four = await network.addNode(lab.host('four', internet, { v4: '192.0.2.4' }));
    const six = await network.addNode(lab.host('six', internet, { v6: '2001:db8:6::1' }));
    for (let round = 1; round <= rounds; round++) {
      const home = lab.lan(`lan${round}`, { subnet4: `10.20.${round}.0/24` });
      lab.router(`nat${round}`, { outside: internet, inside: home, nat: 'port-restricted', v4: `203.0.113.${round}` });
      const host = lab.host(`n${round}`, home);
      const token = await network.addDevice(host.title);
      const node = network.node(host, host.title, token);
      times.enrol.push(await timed(() => node.up()));
      await node.daemon.stop();
      times.restart.push(await timed(() => node.up()));
      times.direct.push(await firstPing(node, four));
      times.relay.push(await firstPing(node, six));
    }
  } finally {
    await lab.close();
  }
  for (const [what, values] of Object.entries({
    'node up to ready, first time': times.enrol,
    'node up to ready, again': times.restart,
    'first ping by name, direct': times.direct,
    'first ping by name, through the relay': times.relay,
  })) {
    console.log(
      `${what.padEnd(40)} ${median(values).toFixed(0).padStart(6)} ms  (${values.map((v) => v.toFixed(0)).join(' ')})`,
    );
  }
}

await main();
