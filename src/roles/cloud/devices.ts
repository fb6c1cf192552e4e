/** The `device` commands, on the register itself or through the controller. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { raise } from '../../lib/errors.ts';
import { openRegister } from '../../store/open.ts';
import type { Register } from '../../store/register.ts';
import { type Administration, type DeviceRequest, type DeviceView, listAll } from '../administration.ts';
import type { Contribution } from '../context.ts';
import { API_TOKEN_FILE } from '../controller/tokens.ts';
import { administerThrough } from '../controller-client.ts';
import { administer, localAuthor } from '../local-administration.ts';
import { NETWORK_FILE, type NetworkFile, readNetworkFile, readText } from '../network-files.ts';
import { toLines, toTable } from './format.ts';

type CommonOptions = {
  readonly dir?: string;
  readonly controller?: string;
  readonly apiTokenFile?: string;
  readonly controllerCa?: string;
  readonly json?: true;
};

type AddOptions = CommonOptions & {
  readonly group: readonly string[];
  readonly passwordFile?: string;
  readonly adapter?: string;
  readonly mac?: string;
  readonly auth?: 'mac' | 'password' | 'certificate';
  readonly ca?: string;
  readonly mode: 'dual' | 'ipv4' | 'ipv6';
};

export const contributeDevices: Contribution = (program, context) => {
  const device = program.command('device').description('the devices of a network');
  const printToken = (made: DeviceView & { readonly token?: string }, { json }: CommonOptions): void => {
    const { fqdn, vip4, vip6, token } = made;
    const line = token ?? [fqdn, vip4, vip6].filter((part) => part !== null).join(' ');
    context.print(json ? JSON.stringify(made) : line);
  };

  common(device.command('add <ID>'), 'cyphonic device add laptop --dir /var/lib/cyphonic --group staff')
    .description('register a device and print its enrolment token; with --adapter a general node, which needs none')
    .addOption(
      new Option(
        '--group <name>',
        'group named in its certificates, a label that decides nothing here; may be repeated',
      )
        .argParser(collect)
        .default([], 'none'),
    )
    .option('--password-file <file>', 'let it log in with this password instead of a one-time secret')
    .option('--adapter <ID>', 'the adapter that brings this general node in')
    .option('--mac <address>', 'MAC address of the general node')
    .addOption(
      new Option('--auth <method>', 'how the general node authenticates').choices(['mac', 'password', 'certificate']),
    )
    .option('--ca <file>', 'PEM of the CA of its certificate, for --auth certificate')
    .addOption(
      new Option('--mode <families>', 'virtual addresses it gets').choices(['dual', 'ipv4', 'ipv6']).default('dual'),
    )
    .action((id: string, options: AddOptions) =>
      withAdministration(options, async (devices) => printToken(await devices.add(requestOf(id, options)), options)),
    );

  common(device.command('token <ID>'), 'cyphonic device token laptop --dir /var/lib/cyphonic')
    .description('print a new enrolment token; the first login with it replaces the keys of the device')
    .action((id: string, options: CommonOptions) =>
      withAdministration(options, async (devices) => printToken(await devices.renewToken(id), options)),
    );

  common(device.command('list'), 'cyphonic device list --dir /var/lib/cyphonic')
    .description('list all devices')
    .action((options: CommonOptions) =>
      withAdministration(options, async (devices) => {
        const all = await listAll(devices);
        if (options.json) context.print(JSON.stringify(all));
        else for (const line of toTable(all)) context.print(line);
      }),
    );

  const change = (
    name: string,
    description: string,
    act: (devices: Administration, id: string) => Promise<DeviceView>,
  ) =>
    common(device.command(`${name} <ID>`), `cyphonic device ${name} laptop --dir /var/lib/cyphonic`)
      .description(description)
      .action((id: string, options: CommonOptions) =>
        withAdministration(options, async (devices) => {
          const result = await act(devices, id);
          if (options.json) context.print(JSON.stringify(result));
          else for (const line of toLines(result)) context.print(line);
        }),
      );
  change('show', 'show one device', (devices, id) => devices.get(id));
  change('disable', 'refuse its logins and close its tunnels', (devices, id) => devices.setEnabled(id, false));
  change('enable', 'undo disable', (devices, id) => devices.setEnabled(id, true));
  change('remove', 'take it out of the network for good; prints what it was', (devices, id) => devices.remove(id));
};

/** On the register if only `--dir` is given; with `--controller`, the directory says whom to trust and who we are. */
async function withAdministration(
  options: CommonOptions,
  work: (devices: Administration) => Promise<void>,
): Promise<void> {
  const { dir, controller, apiTokenFile, controllerCa } = options;
  if (controller === undefined) {
    const { register, file } = await openNetwork(dir);
    try {
      await work(administer(register, file, localAuthor()));
    } finally {
      await register.close();
    }
    return;
  }
  const root = controllerCa ?? (dir === undefined ? undefined : findNetwork(dir).tlsRootFile);
  const token = apiTokenFile ?? (dir === undefined ? undefined : join(dir, API_TOKEN_FILE));
  if (root === undefined) missing('--controller-ca', "give the network's tls-root.pem, by which it is recognised");
  if (token === undefined) missing('--api-token-file', 'give the file with the API token');
  const devices = administerThrough({ url: controller, root: readText(root), token: readText(token).trim() });
  try {
    await work(devices);
  } finally {
    devices.close();
  }
}

/** The network of a directory. */
export function findNetwork(dir: string | undefined): NetworkFile {
  if (dir === undefined) missing('--dir', "give the network's directory");
  const path = join(dir, NETWORK_FILE);
  if (!existsSync(path)) raise('CONFIG_NO_NETWORK', { directory: dir });
  return readNetworkFile(path);
}

export async function openNetwork(dir: string | undefined): Promise<{ register: Register; file: NetworkFile }> {
  const file = findNetwork(dir);
  return { file, register: await openRegister(file.registerFile, file.network) };
}

function requestOf(deviceId: string, options: AddOptions): DeviceRequest {
  const { group: groups, adapter = null, mac = null, auth = null, mode, passwordFile, ca } = options;
  const password = passwordFile === undefined ? null : readPassword(passwordFile);
  return { deviceId, groups, adapter, mac, auth, mode, password, ca: ca === undefined ? null : readText(ca) };
}

function readPassword(file: string): string {
  // The line end is the editor's, not the password's.
  const password = readText(file).replace(/\r?\n$/, '');
  return password === '' ? raise('CONFIG_INVALID', { file, why: 'it holds no password' }) : password;
}

function missing(option: string, why: string): never {
  return raise('USAGE_VALUE', { option, value: '(none)', why });
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function common(command: Command, example: string): Command {
  return command
    .option('--dir <directory>', "the network's directory")
    .option('--controller <url>', "the controller's address, instead of the register in --dir")
    .option('--api-token-file <file>', 'proves to the controller that you are the administrator')
    .option('--controller-ca <file>', "the network's TLS root, if not in --dir")
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  ${example}`);
}
