/**
 * Steady load on a cloud, from many simulated nodes and by the real protocol: `cloud-load.ts DIRECTORY NODES RATE`. Prints
 * `ready` once all nodes are registered; each line of stdin is an order, such as `{"kinds":["login"],"seconds":2}`, and
 * answered by a line with the results, after a line `flowing` at the first answer. Requests are offered whether or not
 * earlier ones were answered, and repeated as nodes repeat them.
 */

import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { loginsAt } from '../../../bench/cloud/logins.ts';
import { type LoadResult, offerLoad } from '../../../bench/cloud/open-loop.ts';
import { addDevices, Population, primitives } from '../../../bench/cloud/population.ts';
import { Port } from '../../../src/proto/constants.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { readNetworkFile } from '../../../src/roles/network-files.ts';

export type Kind = 'registration' | 'keepAlive' | 'direction' | 'login';
export type LoadOrder = { readonly kinds: readonly Kind[]; readonly seconds: number };
export type LoadReport = Readonly<Record<Kind, LoadResult>> & {
  /** Logins that were tried again because their connection broke. */
  readonly retried: number;
  /** Nodes that were told to register again. */
  readonly again: number;
};

/** To a Keep Alive: a node then registers at once. */
const UNREGISTERED = `refused ${Refusal.offline}`;
/** A share of the rate, as devices log in daily and speak to the NMS all day. */
const LOGINS = 0.05;
const LOGIN_TRIES = 5;
const LOGIN_AGAIN_MS = 200;

const [directory = '', count = '', rate = ''] = process.argv.slice(2);
const address = readNetworkFile(`${directory}/cloud.yaml`).address4!;
const devices = await addDevices(directory, 'load', Number(count));
const population = await Population.open(devices, { address, port: Port.nms });
const { nodes } = population;
// A login gives a device another key: these do nothing else.
const leisurely = await addDevices(directory, 'login', 20);
let answered = 0;
let retried = 0;
let again = 0;
let next = 0;

const counted =
  (done: (error: string | null) => void) =>
  (error: string | null): void => {
    answered += 1;
    if (answered === 1) console.log('flowing');
    done(error);
  };

function offer(perSecond: number, ask: (i: number) => void, seconds: number): Promise<LoadResult> {
  /** What finds every node busy is the next one's turn that is free, late as it then is. */
  const waiting: (() => boolean)[] = [];
  const begin = (done: (error: string | null) => void): boolean => {
    for (let tries = 0; tries < nodes.length; tries++) {
      const i = next++ % nodes.length;
      const node = nodes[i]!;
      const settle = (error: string | null): void => {
        if (error === UNREGISTERED && ask === asks.keepAlive) {
          again += 1;
          population.begin(node, () => node.register(), counted(done));
        } else counted(done)(error);
      };
      if (population.begin(node, () => ask(i), settle)) return true;
    }
    return false;
  };
  return offerLoad({
    perSecond,
    seconds,
    tick: () => {
      population.tick();
      while (waiting[0]?.()) waiting.shift();
    },
    begin: (done) => {
      if (!begin(done)) waiting.push(() => begin(done));
    },
  });
}

const logIn = loginsAt(directory, Port.as, new Uint8Array(0));
async function login(done: (error: string | null) => void): Promise<void> {
  const device = leisurely[next++ % leisurely.length]!;
  for (let tries = 1; ; tries++) {
    try {
      return done((await logIn(device, false)) ? null : 'refused');
    } catch (error) {
      // A connection that ends in the middle is tried again, as a node does.
      if (tries === LOGIN_TRIES) return done((error as Error).message);
      retried += 1;
      await setTimeout(LOGIN_AGAIN_MS);
    }
  }
}

const asks: Record<Exclude<Kind, 'login'>, (i: number) => void> = {
  registration: (i) => nodes[i]!.register(),
  keepAlive: (i) => nodes[i]!.keepAlive(),
  direction(i) {
    const peer = nodes[(i + 1 + Math.floor(Math.random() * (nodes.length - 1))) % nodes.length]!;
    nodes[i]!.direct(peer.device.fqdn, primitives.random(16).toHex());
  },
};

function run(kind: Kind, { kinds, seconds }: LoadOrder): Promise<LoadResult> {
  const others = kinds.filter((one) => one !== 'login').length;
  if (kind !== 'login') return offer(Number(rate) / others, asks[kind], seconds);
  return offerLoad({
    perSecond: Number(rate) * LOGINS,
    seconds,
    tick() {},
    begin: (done) => void login(counted(done)),
  });
}

// Every node once, and some more often.
await offer(Number(rate), asks.registration, (1.5 * nodes.length) / Number(rate));
console.log('ready');
for await (const line of createInterface(process.stdin)) {
  const order = JSON.parse(line) as LoadOrder;
  answered = retried = again = 0;
  const results = await Promise.all(order.kinds.map(async (kind) => [kind, await run(kind, order)]));
  console.log(JSON.stringify({ ...Object.fromEntries(results), retried, again }));
}
population.close();
process.exit(0);
