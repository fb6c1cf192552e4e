/** Runs the TRS: its machine says which paths and between which addresses, its port forwards. */

import { TrsMachine } from '../../core/trs.ts';
import type { RelayCommand } from '../../lib/path.ts';
import { sample } from '../metrics.ts';
import { announceRelay } from '../relay-presence.ts';
import {
  identityOf,
  type Parts,
  REGISTER_MS,
  type RunningService,
  runService,
  type ServiceOptions,
} from '../service.ts';
import { type Adopt, startTerminal, type Terminal } from './terminal.ts';

/** How often the machine hears which paths are in use, so that only idle ones are unbound. */
const TRAFFIC_MS = 10_000;

/** `others`: servers of this process at the same address, by their names. */
export type TrsOptions = ServiceOptions & { readonly others?: ReadonlyMap<string, Adopt> };

export async function startTrs(options: TrsOptions): Promise<RunningService> {
  const { file, register, log, shared, own = null, others = new Map() } = options;
  const identity = identityOf(file);
  // A relay that starts anew has none of the paths of before, so it is another one.
  const nodeId = own === null ? identity.nodeId : identity.primitives.random(16).toHex();
  const machine = new TrsMachine({ ...identity, nodeId });
  let terminal: Terminal | null = null;
  const gauges = () => [
    sample('cyphonic_relay_paths', machine.sizes.paths, { state: 'announced' }),
    sample('cyphonic_relay_paths', machine.sizes.bound, { state: 'bound' }),
    ...(terminal === null ? [] : [sample('cyphonic_stream_connections', terminal.connections)]),
  ];
  const more = (): Record<string, number> => terminal?.counters() ?? {};
  const service = await runService<RelayCommand>(options, machine, gauges, perform, more);
  if (file.tls !== null) {
    terminal = await startTerminal({ addresses: own ?? file, tls: file.tls, udpPort: service.port, log, others });
  }
  const look = (): void =>
    void register.query({ get: 'services' }).then(
      (answer) => answer.got === 'services' && terminal?.update(answer.services),
      (error: Error) => log.debug('services not read', { why: error.message }),
    );
  const unwatch = register.watch(look, REGISTER_MS);
  look();
  let before = new Map<string, number>();
  const report = setInterval(() => {
    const packets = new Map(service.udp.relayTraffic().map(({ pathId, packets: [a, b] }) => [pathId, a + b]));
    const busy = [...packets].filter(([pathId, count]) => before.get(pathId) !== count).map(([pathId]) => pathId);
    before = packets;
    service.shell.input((_, now) => {
      machine.forwarded(busy, now);
      return [];
    });
  }, TRAFFIC_MS);
  report.unref();
  let draining = false;
  const replica = () => {
    const tlsPort = terminal?.listening ? file.tls!.port : null;
    return { service: identity.nodeId, nodeId, ...own!, port: service.port, tlsPort, draining };
  };
  const presence = own === null ? null : announceRelay(shared, replica);
  return {
    ...service,
    drain() {
      draining = true;
      presence?.again();
      service.shell.input((_, now) => machine.drain(now));
    },
    async stop() {
      clearInterval(report);
      presence?.stop();
      unwatch();
      await terminal?.stop();
      await service.stop();
    },
  };
}

function perform(command: RelayCommand, { udp }: Parts<RelayCommand>): void {
  switch (command.do) {
    case 'addRelay':
      udp.addRelay(command.pathId);
      break;
    case 'bindSide':
      udp.bindSide(command.pathId, command.side, command.endpoint);
      break;
    case 'removeRelay':
      udp.removeRelay(command.pathId);
      break;
  }
}
