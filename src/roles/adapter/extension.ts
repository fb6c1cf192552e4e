/** What makes an adapter of a node. */

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
      return { ...settings, gateways: [gateway4, gateway6], settings: settingsOf(settings) };
    },
    attach: async (host) => new Adapter(host, settings),
  };
}
