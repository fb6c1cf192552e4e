/** Whether a login is accepted: the rules of protocol sections 2.1 and 2.4, given everything that was found out. */

import type { PublicIdentity } from '../../crypto/identity.ts';
import { type Credentials, type Device, isPinned } from '../../lib/device.ts';
import { AuthType } from '../../proto/messages.ts';
import { Refusal } from '../../proto/options.ts';

export type Evidence = {
  readonly authType: number;
  /** Keys whose possession was proven on this connection. */
  readonly keys: PublicIdentity;
  readonly device: Device | null;
  readonly credentials: Credentials | null;
  /** Whether the password belongs to the stored hash; false if there was none to compare. */
  readonly passwordMatches: boolean;
  /** What speaks against the X.509 certificate a general node showed; null if nothing does, undefined if it showed none. */
  readonly certificateFault: Refusal | null | undefined;
  /** MAC address as the adapter saw it. */
  readonly mac: string | null;
  /** The device that logged in on this connection before, as the register has it now. */
  readonly adapter: Device | null;
  /** Unix milliseconds. */
  readonly wall: number;
};

export type Verdict = { readonly device: Device; readonly mayPin: boolean } | { readonly refuse: Refusal };

export function judge(evidence: Evidence): Verdict {
  const { authType, device, credentials, adapter } = evidence;
  // Somebody who has proven nothing learns nothing about any device, not even whether there is one.
  if (authType === AuthType.mac && adapter === null) return { refuse: Refusal.wrongAdapter };
  if (device === null || credentials === null) return { refuse: Refusal.badCredentials };
  if (evidence.certificateFault) return { refuse: evidence.certificateFault };
  if (!isProven(evidence, device)) return { refuse: Refusal.badCredentials };
  if (device.kind === 'general' && (adapter === null || device.adapter !== adapter.deviceId)) {
    return { refuse: Refusal.wrongAdapter };
  }
  if (device.state === 'disabled' || (device.kind === 'general' && adapter?.state === 'disabled')) {
    return { refuse: Refusal.disabled };
  }
  const pinned = isPinned(device, evidence.keys);
  if (authType === AuthType.password && credentials.secretExpires !== null) {
    if (credentials.secretUsed) return { refuse: Refusal.secretSpent };
    // The same keys may retry until their first login is acknowledged.
    if (credentials.secretExpires <= evidence.wall && !pinned) return { refuse: Refusal.secretExpired };
  }
  if (!pinned && device.signKey !== null && !credentials.keysReplaceable) return { refuse: Refusal.keyMismatch };
  return { device, mayPin: authType !== AuthType.certificate || evidence.certificateFault === null };
}

function isProven(evidence: Evidence, device: Device): boolean {
  switch (evidence.authType) {
    case AuthType.password:
      return evidence.passwordMatches;
    case AuthType.certificate:
      if (evidence.certificateFault === null) return true;
      // The keys of a general node are with its adapter: they don't say that the device is there.
      return isPinned(device, evidence.keys) && (device.kind !== 'general' || device.auth === 'mac');
    case AuthType.mac:
      return device.auth === 'mac' && device.mac !== null && device.mac === evidence.mac;
    default:
      return false;
  }
}
