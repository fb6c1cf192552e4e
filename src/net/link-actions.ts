/** What servers on the inner link ask of the shell around them. */

import type { Address } from '../lib/ip.ts';
import type { Mac } from '../lib/mac.ts';
import type { LinkDropReason } from './link-drop.ts';

export type LinkAction =
  /** Send an IP packet in a frame to this MAC address. */
  | { readonly do: 'send'; readonly to: Mac; readonly packet: Uint8Array }
  /** A device took its address, gave it back, or says that another device has it. */
  | {
      readonly do: 'lease';
      readonly event: 'bound' | 'released' | 'declined';
      readonly mac: Mac;
      readonly address: Address;
    }
  | { readonly do: 'drop'; readonly reason: LinkDropReason; readonly mac: Mac };
