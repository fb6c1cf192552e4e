/**
 * The NAT behaviours of RFC 4787 as nftables rules for a router whose outer interface is eth0.
 *
 * | type               | mapping                    | filtering                  |
 * | full-cone          | endpoint-independent       | endpoint-independent       |
 * | address-restricted | endpoint-independent       | address-dependent          |
 * | port-restricted    | endpoint-independent       | address-and-port-dependent |
 * | symmetric          | address-and-port-dependent | address-and-port-dependent |
 */

export const natTypes = ['full-cone', 'address-restricted', 'port-restricted', 'symmetric'] as const;
export type NatType = (typeof natTypes)[number];

export type Behaviour = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent';
export type NatBehaviour = { readonly mapping: Behaviour; readonly filtering: Behaviour };

export const natBehaviours: { readonly [N in NatType]: NatBehaviour } = {
  'full-cone': { mapping: 'endpoint-independent', filtering: 'endpoint-independent' },
  'address-restricted': { mapping: 'endpoint-independent', filtering: 'address-dependent' },
  'port-restricted': { mapping: 'endpoint-independent', filtering: 'address-and-port-dependent' },
  symmetric: { mapping: 'address-and-port-dependent', filtering: 'address-and-port-dependent' },
};

/** Which host owns which port, from what leaves. */
const owners = `
    map owner { type inet_service : ipv4_addr; flags dynamic, timeout; timeout 5m; }
    chain learn {
      type filter hook forward priority 10;
      oifname "eth0" meta l4proto udp update @owner { udp sport : ip saddr }
    }`;

/**
 * masquerade keeps the source port where it is free, which makes the mapping endpoint-independent, and lets only
 * answers in. Cone types learn which host owns which port from what leaves, and send what comes in there.
 */
const learning: Record<NatType, string> = {
  'port-restricted': '',
  symmetric: '',
  'full-cone': `
    ${owners}
    chain incoming {
      type nat hook prerouting priority dstnat;
      iifname "eth0" meta l4proto udp dnat to udp dport map @owner
    }`,
  'address-restricted': `
    map owner { type inet_service : ipv4_addr; flags dynamic, timeout; timeout 5m; }
    set contacted { type inet_service . ipv4_addr; flags dynamic, timeout; timeout 5m; }
    chain learn {
      type filter hook forward priority 10;
      oifname "eth0" meta l4proto udp update @owner { udp sport : ip saddr } update @contacted { udp sport . ip daddr }
    }
    chain incoming {
      type nat hook prerouting priority dstnat;
      iifname "eth0" udp dport . ip saddr @contacted dnat to udp dport map @owner
    }`,
};

export function natRules(type: NatType): string {
  return `
    table ip nat {
      ${learning[type]}
      chain outgoing {
        type nat hook postrouting priority srcnat;
        oifname "eth0" masquerade ${type === 'symmetric' ? 'fully-random' : ''}
      }
    }`;
}

/**
 * What home routers do besides: nothing unasked comes in, neither to the hosts behind nor to the router itself. Were
 * the latter let through to be refused, a punch that arrives early would occupy the connection-tracking tuple, and the
 * cone would turn symmetric for that peer.
 */
export const firewallRules = `
  table inet firewall {
    chain input {
      type filter hook input priority filter;
      iifname "eth0" meta l4proto udp ct state new drop
    }
    chain forward {
      type filter hook forward priority filter;
      iifname "eth0" ct state new ct status & dnat == 0 drop
    }
  }`;

/**
 * A NAT at `v4` that also lets those behind it talk by their mapped addresses: REQ-9 of RFC 4787, the source as others see
 * it. For hosts whose ports differ, so that each keeps its own outside.
 */
export function hairpinRules(v4: string): string {
  return `
    table ip hairpin {
      ${owners}
      chain back {
        type nat hook prerouting priority dstnat;
        iifname "eth1" ip daddr ${v4} meta l4proto udp dnat to udp dport map @owner
      }
      chain outside {
        type nat hook postrouting priority srcnat;
        iifname "eth1" oifname "eth1" meta l4proto udp snat to ${v4}
      }
    }`;
}

/** What networks do that let nothing through but TCP to these ports; none at all where there are none. */
export function portsOnlyRules(...ports: readonly number[]): string {
  const exception = ports.length === 0 ? '' : `tcp dport != { ${ports.join(', ')} }`;
  return `
  table inet ports_only {
    chain forward {
      type filter hook forward priority filter - 1;
      iifname "eth1" ${exception} drop
      iifname "eth1" meta l4proto udp drop
    }
  }`;
}

/** What networks do that let nothing but TCP through. */
export const noUdpRules = `
  table inet no_udp {
    chain forward {
      type filter hook forward priority filter - 1;
      meta l4proto udp drop
    }
  }`;
