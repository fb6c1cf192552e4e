/** A netlink socket and a monitor by remote control, for the namespace the process is in. */

import {
  type Link,
  type LinkAddress,
  type LinkSettings,
  linkIndex,
  monitorNetwork,
  Netlink,
  type NetworkEvent,
  type NewRoute,
  type Route,
} from '../../src/sys/netlink.ts';

const netlink = new Netlink();
const seen: NetworkEvent[] = [];
monitorNetwork((events) => seen.push(...events));

export const links = (): Link[] => netlink.links();
export const addresses = (): LinkAddress[] => netlink.addresses();
export const routes = (): Route[] => netlink.routes();
export const index = (name: string): number => linkIndex(netlink, name);
export const setLink = (at: number, settings: LinkSettings): void => netlink.setLink(at, settings);
export const addAddress = (at: number, address: string, length: number): void =>
  netlink.addAddress(at, { address, length });
export const removeAddress = (at: number, address: string, length: number): void =>
  netlink.removeAddress(at, { address, length });
export const addRoute = (route: NewRoute): void => netlink.addRoute(route);
export const removeRoute = (route: NewRoute): void => netlink.removeRoute(route);
/** Everything the monitor saw so far. */
export const events = (): NetworkEvent[] => seen;
