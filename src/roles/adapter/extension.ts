/** What makes an adapter of a node. */

import { bridgePorts } from '../../sys/frame-port.ts';
import { linkIndex } from '../../sys/netlink.ts';
import type { Extension } from '../member/extension.ts';
import { Adapter } from './adapter.ts';
import { type AdapterSettings, gatewaysOf, settingsOf } from './inner-interface.ts';

export function extensionOf(settings: AdapterSettings): Extension {
  return {
    role: 'adapter',
    plan({ overlay }, netlink) {
      for (const name of [settings.inner, settings.outer]) linkIndex(netlink, name);
      const { gateway4, gateway6 } = gatewaysOf(overlay);
      const { inner, capture } = settings;
      // What the kernel merged, libpcap has no words for.
      const unmerged = capture === 'pcap' ? [inner, ...bridgePorts(inner)] : [];
      return { ...settings, gateways: [gateway4, gateway6], settings: settingsOf(settings), unmerged };
    },
    attach: async (host) => new Adapter(host, settings),
  };
}
