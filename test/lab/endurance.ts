/** npm run endurance: what takes too long for every day. Prints a table: 100 pings a second and a download through each event. */

import { until } from './toolkit/command.ts';
import { type Interruption, interrupt } from './toolkit/interruption.ts';
import { type Host, Lab, whyNoLab } from './toolkit/lab.ts';
import { Network, type Node } from './toolkit/network.ts';

const MINUTE_MS = 60_000;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function renumber(host: Host, from: string, to: string): void {
  host.sh(`
    ip address delete ${from}/24 dev eth0
    ip address add ${to}/24 dev eth0
    ip route replace default via 10.20.0.1 dev eth0 src ${to}`);
}

/** Another address every 5 s, while 200 MiB come down. */
async function move(host: Host): Promise<void> {
  for (let i = 0; i < 8; i++) {
    renumber(host, `10.20.0.${i === 0 ? 2 : 70 + i}`, `10.20.0.${71 + i}`);
    await pause(5_000);
  }
}

async function run(): Promise<void> {
  const reason = whyNoLab();
  if (reason !== null) {
    console.error(`no network namespaces here: ${reason}`);
    process.exitCode = 1;
    return;
  }
  const lab = new Lab('endurance');
  try {
    const internet = lab.internet();
    const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
    const lan = lab.lan('lan', { subnet4: '10.20.0.0/24' });
    lab.router('router', { outside: internet, inside: lan, nat: 'port-restricted', v4: '198.51.100.20' });
    const host = lab.host('a', lan);
    const a = await network.addNode(host);
    const b = await network.addNode(lab.host('b', internet, { v4: '192.0.2.12' }));
    await a.systemPing(b.fqdn);
    console.log('| event | longest gap | pings lost | checksum |\n| --- | --- | --- | --- |');
    const report = async (what: string, from: Node, to: Node, mebibytes: number, event: () => Promise<void>) => {
      const result: Interruption = await interrupt(from, to, event, { mebibytes, patienceMs: 10 * MINUTE_MS });
      const { gapMs, missing, sent, received } = result;
      console.log(`| ${what} | ${gapMs} ms | ${missing} | ${sent === received ? 'equal' : 'DIFFERENT'} |`);
      if (sent !== received) process.exitCode = 1;
    };
    await report('eight moves during 200 MiB', b, a, 200, () => move(host));
    await report('stopped for 60 s', a, b, 12, async () => {
      b.daemon.signal('SIGSTOP');
      await pause(MINUTE_MS);
      b.daemon.signal('SIGCONT');
    });
    await report('interface gone for 60 s', a, b, 12, async () => {
      host.sh('ip link set eth0 down');
      await pause(MINUTE_MS);
      host.sh('ip link set eth0 up; ip route add default via 10.20.0.1 dev eth0');
    });
    const epochOf = async (): Promise<number> => Number((await a.peer(b))?.epoch);
    await report('three new keys at the usual interval', a, b, 12, async () => {
      const before = await epochOf();
      const patience = { timeoutMs: 10 * MINUTE_MS, intervalMs: 1_000 };
      await until(async () => (await epochOf()) >= before + 3, { what: 'three new keys', ...patience });
    });
  } finally {
    await lab.close();
  }
}

await run();
