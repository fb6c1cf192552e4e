/** The `device` commands, on the register itself. */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { isGroupName, namesFit } from '../../crypto/certificate.ts';
import { tlsRootHash } from '../../crypto/tls-certificate.ts';
import { encodeToken } from '../../crypto/token.ts';
import { type Device, fqdnOf, isDeviceId, type NewDevice } from '../../lib/device.ts';
import { raise } from '../../lib/errors.ts';
import { canonicalMac } from '../../lib/mac.ts';
import { ENROLMENT_TOKEN_MS } from '../../proto/constants.ts';
import { hashSecret } from '../../store/password.ts';
import type { Register } from '../../store/register.ts';
import { openSqlite } from '../../store/sqlite.ts';
import type { Context, Contribution } from '../context.ts';
import { NETWORK_FILE, type NetworkFile, readNetworkFile, readText } from '../network-files.ts';
import { toJson, toLines, toTable } from './format.ts';

type CommonOptions = { readonly dir?: string; readonly controller?: string; readonly json?: true };

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

  common(device.command('add <ID>'), 'cyphonic device add laptop --dir /var/lib/cyphonic --group staff')
    .description('register a device and print its enrolment token; with --adapter a general node, which needs none')
    .option('--group <name>', 'group that goes into its certificates; may be repeated', collect, [])
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
      withRegister(options, (register, file) => add(context, register, file, id, options)),
    );

  common(device.command('token <ID>'), 'cyphonic device token laptop --dir /var/lib/cyphonic')
    .description('print a new enrolment token; the first login with it replaces the keys of the device')
    .action((id: string, options: CommonOptions) =>
      withRegister(options, async (register, file) => {
        const known = await get(register, id);
        const secret = known.auth === 'password' ? null : await newSecret();
        const renewed = await register.renewSecret(id, secret);
        const token = tokenOf(file, renewed, secret?.octets ?? null);
        context.print(options.json ? JSON.stringify({ ...toJson(renewed), token }) : token);
      }),
    );

  common(device.command('list'), 'cyphonic device list --dir /var/lib/cyphonic')
    .description('list all devices')
    .action((options: CommonOptions) =>
      withRegister(options, async (register) => {
        const devices = await register.list();
        if (options.json) context.print(JSON.stringify(devices.map((each) => toJson(each))));
        else for (const line of toTable(devices)) context.print(line);
      }),
    );

  const change = (name: string, description: string, act: (register: Register, id: string) => Promise<Device>) =>
    common(device.command(`${name} <ID>`), `cyphonic device ${name} laptop --dir /var/lib/cyphonic`)
      .description(description)
      .action((id: string, options: CommonOptions) =>
        withRegister(options, async (register) => {
          const result = await act(register, id);
          if (options.json) context.print(JSON.stringify(toJson(result)));
          else for (const line of toLines(result)) context.print(line);
        }),
      );
  change('show', 'show one device', get);
  change('disable', 'refuse its logins and close its tunnels', (register, id) => register.setEnabled(id, false));
  change('enable', 'undo disable', (register, id) => register.setEnabled(id, true));
  change('remove', 'take it out of the network for good; prints what it was', async (register, id) => {
    const removed = await get(register, id);
    await register.remove(id);
    return removed;
  });
};

async function add(
  context: Context,
  register: Register,
  file: NetworkFile,
  id: string,
  options: AddOptions,
): Promise<void> {
  const general = options.adapter !== undefined;
  if (!isDeviceId(id))
    raise('USAGE_VALUE', { option: 'ID', value: id, why: 'use letters, digits and hyphens, 63 at most' });
  const groups = [...new Set(options.group)];
  const wrong = groups.find((group) => !isGroupName(group));
  if (wrong !== undefined) {
    raise('USAGE_VALUE', {
      option: '--group',
      value: wrong,
      why: 'use lower-case letters, digits, dots and hyphens, 32 at most',
    });
  }
  if (!namesFit(fqdnOf(id, file.network.domain), groups)) {
    raise('USAGE_VALUE', {
      option: '--group',
      value: groups.join(' '),
      why: 'a certificate has no room for so many groups',
    });
  }
  if (!general) {
    for (const name of ['mac', 'auth', 'ca'] as const) {
      if (options[name] !== undefined)
        raise('USAGE_VALUE', { option: `--${name}`, value: options[name], why: 'it needs --adapter' });
    }
  }
  const auth = general ? (options.auth ?? 'mac') : options.passwordFile === undefined ? 'token' : 'password';
  const password = readPassword(options, auth);
  const secret = auth === 'token' ? await newSecret() : null;
  const given: NewDevice = {
    deviceId: id,
    groups,
    adapter: options.adapter ?? null,
    mac: general ? readMac(options.mac) : null,
    auth,
    mode: options.mode,
    secretHash: secret?.hash ?? (password === null ? null : await hashSecret(password)),
    secretExpires: secret?.expires ?? null,
    trustedCa: readTrustedCa(options, auth),
  };
  const added = await register.add(given);
  if (general) {
    const { fqdn, vip4, vip6 } = added;
    context.print(
      options.json ? JSON.stringify(toJson(added)) : [fqdn, vip4, vip6].filter((part) => part !== null).join(' '),
    );
    return;
  }
  const token = tokenOf(file, added, secret?.octets ?? null);
  context.print(options.json ? JSON.stringify({ ...toJson(added), token }) : token);
}

async function withRegister(
  options: CommonOptions,
  work: (register: Register, file: NetworkFile) => Promise<void>,
): Promise<void> {
  if (options.controller !== undefined) raise('USAGE_NO_CONTROLLER');
  const { register, file } = openNetwork(options.dir);
  try {
    await work(register, file);
  } finally {
    await register.close();
  }
}

export function openNetwork(dir: string | undefined): { register: Register; file: NetworkFile } {
  if (dir === undefined)
    raise('USAGE_VALUE', { option: '--dir', value: '(none)', why: "give the network's directory" });
  const path = join(dir, NETWORK_FILE);
  if (!existsSync(path)) raise('CONFIG_NO_NETWORK', { directory: dir });
  const file = readNetworkFile(path);
  return { file, register: openSqlite(file.registerFile, file.network) };
}

async function get(register: Register, deviceId: string): Promise<Device> {
  const answer = await register.query({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
  const device = answer.got === 'device' ? answer.device : null;
  return device ?? raise('REGISTER_UNKNOWN_DEVICE', { deviceId });
}

async function newSecret(): Promise<{ octets: Uint8Array; hash: string; expires: number }> {
  const octets = new Uint8Array(randomBytes(16));
  return { octets, hash: await hashSecret(octets), expires: Date.now() + ENROLMENT_TOKEN_MS };
}

function tokenOf(file: NetworkFile, { deviceId }: Device, secret: Uint8Array | null): string {
  return encodeToken({
    as4: file.address4,
    as6: file.address6,
    port: file.asPort,
    caKey: file.caPublicKey,
    rootHash: tlsRootHash(readText(file.tlsRootFile)),
    domain: file.network.domain,
    deviceId,
    secret,
  });
}

function readPassword({ passwordFile }: AddOptions, auth: NewDevice['auth']): Uint8Array | null {
  if (auth !== 'password') {
    if (passwordFile === undefined) return null;
    return raise('USAGE_VALUE', { option: '--password-file', value: passwordFile, why: 'it needs --auth password' });
  }
  if (passwordFile === undefined) {
    return raise('USAGE_VALUE', { option: '--auth', value: auth, why: 'it needs --password-file' });
  }
  // The line end is the editor's, not the password's.
  const password = readText(passwordFile).replace(/\r?\n$/, '');
  if (password === '') raise('CONFIG_INVALID', { file: passwordFile, why: 'it holds no password' });
  return new TextEncoder().encode(password);
}

function readMac(text: string | undefined): string {
  if (text === undefined)
    return raise('USAGE_VALUE', { option: '--mac', value: '(none)', why: 'a general node needs one' });
  const why = 'it is no MAC address of one device; use one like 02:00:00:00:00:01';
  return canonicalMac(text) ?? raise('USAGE_VALUE', { option: '--mac', value: text, why });
}

function readTrustedCa({ ca }: AddOptions, auth: NewDevice['auth']): string | null {
  if (auth !== 'certificate') {
    if (ca === undefined) return null;
    return raise('USAGE_VALUE', { option: '--ca', value: ca, why: 'it needs --auth certificate' });
  }
  if (ca === undefined) return raise('USAGE_VALUE', { option: '--auth', value: auth, why: 'it needs --ca' });
  const pem = readText(ca);
  return pem.includes('-----BEGIN CERTIFICATE-----')
    ? pem
    : raise('CONFIG_INVALID', { file: ca, why: 'it holds no PEM certificate' });
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function common(command: Command, example: string): Command {
  return command
    .option('--dir <directory>', "the network's directory")
    .option('--controller <url>', "the controller's address, instead of --dir")
    .option('--api-token-file <file>', 'proves to the controller that you are the administrator')
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  ${example}`);
}
