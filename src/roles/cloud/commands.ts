/** The `cloud` and `device` commands. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { raise } from '../../lib/errors.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import { Port } from '../../proto/constants.ts';
import type { Contribution } from '../context.ts';
import { drainOptions } from '../drain.ts';
import { readAddress, readTlsRoot } from '../network-files.ts';
import { metricsOption } from '../service.ts';
import { contributeTokens } from './api-tokens.ts';
import { backup, restore } from './archive.ts';
import { contributeDevices, findNetwork, openNetwork } from './devices.ts';
import { type InitOptions, initNetwork, makeService, readPortNumber, readTlsPort } from './init.ts';
import { type CloudOptions, serveCloud } from './serve.ts';

type ServiceOptions = {
  readonly dir: string;
  readonly address?: string;
  readonly address6?: string;
  readonly port?: string;
  readonly tlsPort: string;
};

export const contribute: Contribution = (program, context) => {
  const cloud = program.command('cloud').description('a whole network: make it, serve it, back it up');

  withDirectory(
    cloud.command('init'),
    'cyphonic cloud init --dir /var/lib/cyphonic --domain lab.example --address 198.51.100.10',
  )
    .description('make a new network in a directory; an existing one is not touched')
    .requiredOption('--domain <name>', 'domain that the names of devices end in')
    .option('--address <IPv4>', 'where devices reach the cloud (default: the address of this host)')
    .option('--address6 <IPv6>', 'the same by IPv6')
    .option('--vip4 <range>', "range of the devices' virtual IPv4 addresses", '100.80.0.0/16')
    .option('--vip6 <range>', "range of the devices' virtual IPv6 addresses (default: a random unique local /64)")
    .option('--as-port <port>', 'TCP port of the AS', String(Port.as))
    .option('--nms-port <port>', 'UDP port of the NMS', String(Port.nms))
    .option('--trs-port <port>', 'UDP port of the TRS', String(Port.trs))
    .option('--trs-tls-port <port>', 'TCP port where the TRS takes datagrams over TLS, or off', String(Port.trsTls))
    .option('--controller-port <port>', 'TCP port of the controller', String(Port.controller))
    .action(async (options: InitOptions) => {
      const { address4, address6 } = await initNetwork(options);
      const reached = [address4, address6]
        .filter((address) => address !== null)
        .map((address) => formatEndpoint({ address, port: Number(options.asPort) }));
      context.print(
        `Network ${options.domain} is made in ${resolve(options.dir)}; devices reach it at ${reached.join(' and ')}.`,
      );
      context.print(`Keep that directory secret and backed up. Next:`);
      context.print(`  cyphonic cloud serve --dir ${options.dir}`);
      context.print(`  cyphonic device add NAME --dir ${options.dir}      prints a token`);
      context.print('  cyphonic node up --state DIR --token-file FILE     on the device, with that token');
    });

  withDirectory(drainOptions(cloud.command('serve')), 'cyphonic cloud serve --dir /var/lib/cyphonic')
    .description('run AS, NMS, TRS and controller of a network in one process, in the foreground')
    .addOption(metricsOption())
    .action((options: CloudOptions & { dir: string }) => serveCloud(findNetwork(options.dir), options, context));

  withDirectory(
    cloud.command('service').description('further services').command('add <role> <NAME>'),
    'cyphonic cloud service add trs trs-2 --dir /var/lib/cyphonic --address 203.0.113.5',
  )
    .description('make keys and configuration for one more NMS or TRS')
    .option('--address <IPv4>', 'where devices reach it')
    .option('--address6 <IPv6>', 'the same by IPv6')
    .option('--port <port>', 'its UDP port')
    .option('--tls-port <port>', 'TCP port where a TRS takes datagrams over TLS, or off', String(Port.trsTls))
    .action(async (role: string, name: string, options: ServiceOptions) => {
      if (role !== 'nms' && role !== 'trs')
        raise('USAGE_VALUE', { option: 'role', value: role, why: 'use nms or trs' });
      if (!/^[a-z\d][a-z\d-]{0,62}$/.test(name)) {
        raise('USAGE_VALUE', { option: 'NAME', value: name, why: 'use lower-case letters, digits and hyphens' });
      }
      const address4 = readAddress('--address', options.address, 4);
      const address6 = readAddress('--address6', options.address6, 6);
      if ((address4 ?? address6) === null) {
        raise('USAGE_VALUE', { option: '--address', value: '(none)', why: 'devices must reach the service somewhere' });
      }
      const port = readPortNumber('--port', options.port ?? String(Port[role]));
      const tlsPort = readTlsPort('--tls-port', options.tlsPort);
      const { register, file } = await openNetwork(options.dir);
      try {
        const tls = role === 'nms' || tlsPort === null ? null : { port: tlsPort, root: readTlsRoot(file) };
        const service = { role, name, address4, address6, port, tls } as const;
        const made = await makeService(options.dir, register, file.network, service);
        context.print(`Service ${name} is registered. Start it with: cyphonic ${role} serve --config ${made}`);
      } finally {
        await register.close();
      }
    });

  contributeTokens(cloud, context);

  withDirectory(cloud.command('backup <FILE>'), 'cyphonic cloud backup --dir /var/lib/cyphonic /backup/network.tar')
    .description('write the whole network, keys included, into one file; also while it is served')
    .action(async (target: string, options: { dir: string }) => {
      backup(options.dir, findNetwork(options.dir), target);
    });

  withDirectory(
    cloud.command('migrate').requiredOption('--to <url>', 'postgres://OWNER:PASSWORD@HOST/DATABASE'),
    'cyphonic cloud migrate --dir /var/lib/cyphonic --to postgres://owner@db.example/cyphonic',
  )
    .description('move the register into a PostgreSQL database, or bring its schema there up to date')
    .action(async ({ dir, to }: { dir: string; to: string }) => {
      const { migrate } = await import('./migrate.ts');
      for (const line of await migrate(dir, findNetwork(dir), to)) context.print(line);
    });

  withDirectory(cloud.command('restore <FILE>'), 'cyphonic cloud restore --dir /var/lib/cyphonic /backup/network.tar')
    .description('make a directory from a backup; an existing one is not touched')
    .action((source: string, options: { dir: string }) => restore(options.dir, source));

  contributeDevices(program, context);
};

function withDirectory(command: Command, example: string): Command {
  return command
    .requiredOption('--dir <directory>', "the network's directory")
    .addHelpText('after', `\nExample:\n  ${example}`);
}
