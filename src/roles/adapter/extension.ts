/** What makes an adapter of a node. */

import { linkIndex } from '../../sys/netlink.ts';
import type { Extension } from '../member/extension.ts';
import { Adapter, type AdapterSettings } from './adapter.ts';
import { bringInnerUp, gatewaysOf } from './inner-interface.ts';

export function extensionOf(settings: AdapterSettings): Extension {
  const { inner, outer } = settings;
  return {
    role: 'adapter',
    inner,
    prepare({ overlay }, netlink) {
      linkIndex(netlink, outer);
      const gateways = gatewaysOf(overlay);
      bringInnerUp(inner, gateways, netlink);
      return [gateways.gateway4, gateways.gateway6];
    },
    attach: async (host) => new Adapter(host, settings),
  };
}
