import type { Peer } from './peer.ts';

/** Nothing in between. */
export const link: Peer = {
  name: 'bare link',
  tools: [],
  start: async ({ hosts }) => ({ address: String(hosts[1].addresses.v4), daemons: [] }),
};
