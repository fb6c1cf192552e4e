/**
 * An 802.1X authenticator on one interface, with nothing else around it: `authenticator-agent.ts INTERFACE FILE`. The file
 * says who there is (`AuthenticatorSettings`). Prints `ready` and one line for each outcome; on stdin it takes `begin MAC`,
 * and `counters`.
 */

import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { judgeCertificate } from '../../../src/core/as/device-certificate.ts';
import type { TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import type { Device } from '../../../src/lib/device.ts';
import type { Mac } from '../../../src/lib/mac.ts';
import { Authenticator, type AuthenticatorAction } from '../../../src/net/authenticator.ts';
import type { Credential } from '../../../src/net/eap-conversation.ts';
import { decodeFrame, EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { NodeTlsEngine } from '../../../src/roles/adapter/tls-engine.ts';
import { readClock } from '../../../src/sys/clock.ts';
import { allocate } from '../../../src/sys/memory.ts';
import { MAX_FRAME, PacketSocket } from '../../../src/sys/packet.ts';

export type AuthenticatorSettings = {
  readonly server: TlsIdentity;
  readonly tlsRoot: string;
  /** The adapter's name. */
  readonly fqdn: string;
  readonly devices: Readonly<
    Record<Mac, { readonly deviceId: string } & ({ password: string } | { trustedCa: string })>
  >;
};

const [name = '', file = ''] = process.argv.slice(2);
const { server, tlsRoot, fqdn, devices } = JSON.parse(readFileSync(file, 'utf8')) as AuthenticatorSettings;
const own: Mac = readFileSync(`/sys/class/net/${name}/address`, 'utf8').trim();
/** A virtio-net header without any offload stands in front of each frame. */
const VNET_HEADER = 10;

const socket = new PacketSocket(name);
const incoming = allocate(MAX_FRAME);
const outgoing = allocate(MAX_FRAME);
const counters: Record<string, number> = { frames: 0, engines: 0 };
const refusals = Object.fromEntries(Object.entries(Refusal).map(([title, value]) => [value, title]));
let wake = Number.POSITIVE_INFINITY;

const authenticator = new Authenticator({
  methodsOf: (mac) => {
    const device = devices[mac];
    return device === undefined ? null : ['password' in device ? 'ttls' : 'tls'];
  },
  makeEngine: (mac, method) => {
    count('engines');
    return new NodeTlsEngine(Promise.resolve(server), method, () =>
      perform(authenticator.progressed(mac, readClock())),
    );
  },
  random: Math.random,
});

/** Why a credential isn't good; null if it is. As the AS would say. */
function judge(mac: Mac, credential: Credential, identity: string): string | null {
  const device = devices[mac]!;
  if (credential.kind === 'password') {
    const { password } = device as { password: string };
    const good = identity === device.deviceId && Buffer.from(credential.password).toString() === password;
    return good ? null : 'badCredentials';
  }
  const general = {
    ...device,
    auth: 'certificate',
    certificate: null,
    adapter: 'gw',
    fqdn: `${device.deviceId}.lab.example`,
  };
  const trust = { trustedCa: (device as { trustedCa: string }).trustedCa, tlsRoot };
  const adapter = { deviceId: 'gw', fqdn } as Device;
  const fault = judgeCertificate(credential.proof, general as unknown as Device, adapter, trust, Date.now());
  return fault === null ? null : refusals[fault ?? Refusal.badCredentials]!;
}

function perform(actions: readonly AuthenticatorAction[]): void {
  for (const action of actions) {
    switch (action.do) {
      case 'send': {
        const frame = {
          destination: action.to,
          source: own,
          tag: null,
          etherType: EtherType.eapol,
          payload: action.pdu,
        };
        const octets = encodeFrame(frame);
        outgoing.bytes.fill(0, 0, VNET_HEADER);
        outgoing.bytes.set(octets, VNET_HEADER);
        socket.send(outgoing, VNET_HEADER + octets.length);
        count('sent');
        break;
      }
      case 'authenticate': {
        const fault = judge(action.mac, action.credential, action.identity);
        if (fault !== null) console.log(`refused ${action.mac} ${fault}`);
        perform(authenticator.decided(action.mac, action.attempt, fault === null, readClock()));
        break;
      }
      case 'authorised':
        console.log(`authorised ${action.mac} ${action.identity}`);
        break;
      case 'failed':
        console.log(`failed ${action.mac} ${action.reason}`);
        break;
      case 'drop':
        count(action.reason);
        break;
      case 'wake':
        wake = action.at;
    }
  }
}

function count(what: string): void {
  counters[what] = (counters[what] ?? 0) + 1;
}

process.stdin.on('data', (order) => {
  const [what, mac = ''] = order.toString().trim().split(' ');
  if (what === 'begin') perform(authenticator.begin(mac, readClock()));
  else console.log(`counters ${JSON.stringify(counters)}`);
});
process.stdin.on('end', () => process.exit(0));
console.log('ready');
for (;;) {
  for (let length = socket.receive(incoming); length > 0; length = socket.receive(incoming)) {
    count('frames');
    const frame = decodeFrame(incoming.bytes.subarray(VNET_HEADER, length));
    if (typeof frame === 'string' || frame.etherType !== EtherType.eapol) continue;
    perform(authenticator.receive(frame.source, frame.payload, readClock()));
  }
  if (wake <= readClock().ms) {
    wake = Number.POSITIVE_INFINITY;
    perform(authenticator.tick(readClock()));
  }
  await wait(1);
}
