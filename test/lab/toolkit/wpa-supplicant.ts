/** The wired supplicant of Debian and of most devices that run Linux, on one interface of a host. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { until } from './command.ts';
import type { Namespace } from './namespace.ts';
import type { Program } from './program.ts';

export type Supplication = {
  readonly identity: string;
  /** Whom it trusts: PEM of a root, and the name the server must have. */
  readonly root: string;
  readonly server: string;
  /** TLS 1.3 is off unless asked for, in version 2.10. */
  readonly tls13?: boolean;
} & ({ readonly password: string } | { readonly certificate: TlsIdentity });

export class WpaSupplicant {
  readonly #host: Namespace;
  readonly #control: string;
  readonly program: Program;

  constructor(host: Namespace, directory: string, supplication: Supplication, interfaceName = 'eth0') {
    this.#host = host;
    const place = join(directory, `wpa-${host.title}`);
    mkdirSync(place, { recursive: true });
    this.#control = join(place, 'control');
    const config = join(place, 'wpa.conf');
    writeFileSync(config, configuration(supplication, place, this.#control), { mode: 0o600 });
    this.program = host.spawn(['wpa_supplicant', '-D', 'wired', '-i', interfaceName, '-c', config], { input: '' });
  }

  /** `wpa_cli` with these words. */
  tell(...words: string[]): Promise<string> {
    return this.#host.run(['wpa_cli', '-p', this.#control, ...words]);
  }

  /** Waits for so many of its events. */
  async saw(event: 'SUCCESS' | 'FAILURE', times = 1): Promise<void> {
    const seen = () => this.program.stdout.split(`CTRL-EVENT-EAP-${event}`).length - 1;
    await until(() => seen() >= times, { what: `${times} × ${event} from wpa_supplicant`, timeoutMs: 45_000 });
  }
}

function configuration(wish: Supplication, place: string, control: string): string {
  const file = (name: string, content: string): string => {
    const path = join(place, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const version = `tls_disable_tlsv1_3=${wish.tls13 ? 0 : 1}`;
  const how =
    'password' in wish
      ? ['eap=TTLS', 'phase2="auth=PAP"', 'anonymous_identity="anonymous"', `password="${wish.password}"`]
      : [
          'eap=TLS',
          `client_cert="${file('certificate.pem', wish.certificate.certificate)}"`,
          `private_key="${file('key.pem', wish.certificate.privateKey)}"`,
        ];
  const network = [
    'key_mgmt=IEEE8021X',
    // Wired Ethernet without MACsec: no keys come of it.
    'eapol_flags=0',
    `identity="${wish.identity}"`,
    `ca_cert="${file('root.pem', wish.root)}"`,
    `domain_match="${wish.server}"`,
    `phase1="${version}"`,
    ...how,
  ];
  return `ctrl_interface=${control}\nap_scan=0\nnetwork={\n${network.map((line) => `  ${line}\n`).join('')}}\n`;
}
