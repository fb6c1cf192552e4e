/** What an NMS and a TRS have in common: a machine on a UDP port and a register, one process or several to a host. */

import { networkInterfaces } from 'node:os';
import { Option } from 'commander';
import type { Machine } from '../core/machine.ts';
import { nodePrimitives } from '../crypto/node.ts';
import type { KeyPair, Primitives } from '../crypto/primitives.ts';
import { Counters } from '../lib/counters.ts';
import type { ServiceRole } from '../lib/device.ts';
import { raise } from '../lib/errors.ts';
import type { Sample } from '../lib/exposition.ts';
import type { Address, Prefix } from '../lib/ip.ts';
import { createLog, type Log } from '../lib/log.ts';
import type { Now } from '../lib/time.ts';
import { openServicePort, type ServicePort } from '../pipeline/service.ts';
import { MetricsPort } from '../proto/constants.ts';
import type { Register } from '../store/register.ts';
import { ownPlace, type Shared } from '../store/shared.ts';
import { evpAead } from '../sys/evp.ts';
import { hkdf } from '../sys/hkdf.ts';
import { notifyReady } from '../sys/notify.ts';
import type { Context, Contribution, Running } from './context.ts';
import { type Drainable, type DrainOptions, drain, drainOptions, readGrace } from './drain.ts';
import { counterSamples } from './metrics.ts';
import { readAddress, readKeyFile, readServiceFile, type ServiceFile } from './network-files.ts';
import { type RegisterAccess, Shell } from './shell.ts';
import { awaitRegister, awaitShared } from './stores.ts';
import { chooseTelemetry, type Observed, startTelemetry } from './telemetry.ts';

export type ServiceOptions = {
  readonly file: ServiceFile;
  readonly register: RegisterAccess & Pick<Register, 'watch'>;
  /** What its replicas share; a file or the memory of this process where there are none. */
  readonly shared: Shared;
  /** Where this replica alone is reached, beside the address of all; null = it is the only one. */
  readonly own?: OwnAddresses | null;
  readonly log: Log;
  readonly counters?: Counters;
  /** For trials and tests on one machine: loopback addresses may be sent to. */
  readonly loopback?: boolean;
};

export type OwnAddresses = { readonly address4: Address | null; readonly address6: Address | null };

export type RunningService = Running &
  Drainable & {
    readonly port: number;
    /** Events, drops by reason and octets since the start. */
    counters(): Record<string, number>;
    readonly observed: Observed;
  };

/** What every service machine is made of. */
export type ServiceIdentity = {
  readonly primitives: Primitives;
  readonly nodeId: string;
  readonly keys: KeyPair;
  readonly overlay: readonly Prefix[];
};

type ServiceMachine<Extra> = Machine<Extra> & { registerChanged(now: Now): ReturnType<Machine<Extra>['tick']> };

/** Why a service is not ready although it runs. */
export const REGISTER_SILENT = 'the register does not answer';

/** Longest time until a change of the register is acted on (ms). */
export const REGISTER_MS = 1_000;
/** The point that a private key is multiplied with to give the public key (RFC 7748 section 4.1). */
const BASE_POINT = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 9 : 0));

export function identityOf({ nodeId, keyFile, network }: ServiceFile): ServiceIdentity {
  const primitives = nodePrimitives(evpAead, hkdf);
  const privateKey = readKeyFile(keyFile);
  const publicKey = primitives.x25519(privateKey, BASE_POINT);
  if (publicKey === null) return raise('CONFIG_INVALID', { file: keyFile, why: 'it holds no X25519 key' });
  return { primitives, nodeId, keys: { privateKey, publicKey }, overlay: [network.range4, network.range6] };
}

/** What the actions of one machine are carried out on. */
export type Parts<Extra extends { readonly do: string }> = { readonly shell: Shell<Extra>; readonly udp: ServicePort };

export type Service<Extra extends { readonly do: string }> = RunningService & Parts<Extra>;

/** Puts a machine on its port; `gauges` reads its sizes, `perform` carries out the actions that only this machine has, `more` counts what is beside it. */
export async function runService<Extra extends { readonly do: string } = never>(
  { file, register, own, log, counters = new Counters(), loopback = false }: ServiceOptions,
  machine: ServiceMachine<Extra>,
  gauges: () => readonly Sample[],
  perform?: (action: Extra, parts: Parts<Extra>) => void,
  more: () => Record<string, number> = () => ({}),
): Promise<Service<Extra>> {
  const { network, role, name, port } = file;
  const shell: Shell<Extra> = new Shell<Extra>({
    machine,
    register,
    counters,
    log,
    send: (to, datagram) => udp.send(to, datagram),
    ...(perform !== undefined && { perform: (action: Extra) => perform(action, { shell, udp }) }),
  });
  const udp = await openServicePort({
    address4: bindable((own ?? file).address4, '0.0.0.0'),
    address6: bindable((own ?? file).address6, '::'),
    port,
    relay: role === 'trs',
    overlay: [network.range4, network.range6],
    log,
    loopback,
    onDatagram: (datagram, from) => shell.receive(datagram, from),
    // Without its port a service is none: the process ends, whoever runs it starts it again.
    onFailure: (error) => {
      throw error;
    },
  });
  const look = (): void => shell.input((_, now) => machine.registerChanged(now));
  const unwatch = register.watch(look, REGISTER_MS);
  look();
  const all = (): Record<string, number> => ({
    ...more(),
    ...counters.snapshot(),
    ...dropCounters(udp),
    ...udp.counters(),
  });
  let received = 0;
  return {
    shell,
    udp,
    port: udp.localPort,
    counters: all,
    busy() {
      const before = received;
      received = udp.counters().udpReceivedDatagrams ?? 0;
      return received !== before;
    },
    observed: {
      role,
      service: name,
      samples: () => [...counterSamples(all(), counters.times()), ...gauges()],
      obstacle: () => (shell.registerAnswers ? null : REGISTER_SILENT),
    },
    async stop() {
      unwatch();
      shell.stop();
      await udp.close();
    },
  };
}

export function metricsOption(): Option {
  return new Option('--metrics <address:port>', 'where metrics and health are served by HTTP, or off');
}

type ServeOptions = DrainOptions & {
  readonly config: string;
  readonly metrics?: string;
  readonly address?: string;
  readonly address6?: string;
};

/** `cyphonic nms serve` and `cyphonic trs serve`. */
export function serveCommand(
  role: ServiceRole,
  descriptions: { readonly role: string; readonly serve: string },
  start: (options: ServiceOptions) => Promise<RunningService>,
): Contribution {
  return (program, context) => {
    const command = drainOptions(program.command(role).description(descriptions.role).command('serve'));
    if (role === 'trs') {
      command
        .option('--address <IPv4>', 'where this one of several replicas is reached by its own address')
        .option('--address6 <IPv6>', 'the same by IPv6');
    }
    command
      .description(descriptions.serve)
      .requiredOption('--config <file>', "the service's YAML file")
      .addOption(metricsOption())
      .addHelpText('after', `\nExample:\n  cyphonic ${role} serve --config /var/lib/cyphonic/${role}.yaml`)
      .action((options: ServeOptions) => serve(options, readServiceFile(options.config, role), start, context));
  };
}

async function serve(
  options: ServeOptions,
  file: ServiceFile,
  start: (options: ServiceOptions) => Promise<RunningService>,
  context: Context,
): Promise<void> {
  const log = createLog(file.role);
  readGrace(options.grace);
  const own = ownAddresses(options, file);
  const telemetry = await startTelemetry(chooseTelemetry(options.metrics, file.metrics, MetricsPort[file.role], log));
  const register = await awaitRegister(file.registerFile, file.network, log, context.stopped, {
    service: { nodeId: file.nodeId, publicKey: identityOf(file).keys.publicKey },
  });
  const shared = register && (await awaitShared(placeOf(file), file.network, log, context.stopped));
  try {
    if (register === null || shared === null) return;
    const running = await start({ file, register, shared, own, log });
    telemetry.serving([running.observed]);
    context.print(`ready ${file.role} ${file.name}: port ${running.port}/udp`);
    notifyReady(context.env.NOTIFY_SOCKET);
    await context.stopped;
    telemetry.stopping();
    await drain([running], options, log);
    await running.stop();
  } finally {
    await shared?.close();
    await register?.close();
    await telemetry.stop();
  }
}

/** What only a TRS with replicas shares is worth nothing after it. */
function placeOf({ role, name, shared, registerFile }: ServiceFile): string | null {
  return shared ?? (role === 'nms' ? ownPlace(registerFile, `presence-${name}`) : null);
}

function ownAddresses({ address, address6 }: ServeOptions, file: ServiceFile): OwnAddresses | null {
  const own = { address4: readAddress('--address', address, 4), address6: readAddress('--address6', address6, 6) };
  if ((own.address4 ?? own.address6) === null) return null;
  if (file.shared !== null) return own;
  const why = 'replicas announce themselves on what they share; set "shared" in the service\'s YAML file';
  return raise('USAGE_VALUE', { option: '--address', value: address ?? address6, why });
}

/** The registered address if this host has it, so that answers leave from it; behind a translation or balancer, all. */
function bindable(address: Address | null, all: Address): Address | null {
  if (address === null) return null;
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address));
  return own.includes(address) ? address : all;
}

function dropCounters(udp: ServicePort): Record<string, number> {
  return Object.fromEntries(Object.entries(udp.drops).map(([reason, count]) => [`port-drop-${reason}`, count]));
}
