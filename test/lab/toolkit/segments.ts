import { type Addresses, cable, type Namespace, type Segment, type Through, type Wish } from './namespace.ts';

/**
 * The public Internet: a router with a link of its own to everything attached. Addresses come from the documentation
 * ranges (RFC 5737, RFC 3849): 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 and 2001:db8::/32.
 */
export class Internet implements Segment {
  static readonly gateway4 = '192.0.2.1';
  static readonly gateway6 = 'fe80::1';

  readonly namespace: Namespace;
  /** Which of the router's interfaces leads to which address. */
  readonly #links = new Map<string, string>();
  #attached = 0;

  constructor(namespace: Namespace) {
    this.namespace = namespace;
    namespace.forward();
  }

  attach(namespace: Namespace, interfaceName: string, wish: Wish = {}): Addresses {
    const link = `link${++this.#attached}`;
    cable(this.namespace, link, namespace, interfaceName, wish.through);
    this.namespace.sh(
      `ip address add ${Internet.gateway4}/32 dev ${link}; ip -6 address add ${Internet.gateway6}/64 dev ${link}`,
    );
    if (wish.v4) {
      namespace.sh(`
        ip address add ${wish.v4}/32 dev ${interfaceName}
        ip route add ${Internet.gateway4} dev ${interfaceName} scope link
        ip route add default via ${Internet.gateway4}`);
    }
    if (wish.v6) {
      namespace.sh(`
        ip -6 address add ${wish.v6}/128 dev ${interfaceName}
        ip -6 route add default via ${Internet.gateway6} dev ${interfaceName}`);
    }
    for (const address of [wish.v4, wish.v6]) {
      if (!address) continue;
      this.namespace.sh(`ip route add ${address} dev ${link}`);
      this.#links.set(address, link);
    }
    return { v4: wish.v4 ?? null, v6: wish.v6 ?? null };
  }

  route(prefix: string, via: string): void {
    this.namespace.sh(`ip route add ${prefix} via ${via} dev ${this.#links.get(via)}`);
  }
}

export type LanOptions = {
  /** A /24, such as 10.20.0.0/24. */
  readonly subnet4?: string;
  /** A /64, such as 2001:db8:20::/64. */
  readonly subnet6?: string;
};

/** A switched local network. Its router, if it has one, holds the first address and is everybody's default route. */
export class Lan implements Segment {
  readonly namespace: Namespace;
  readonly options: LanOptions;
  /** Set by the router behind which this network is. */
  router: { readonly namespace: Namespace; readonly outside: Segment; readonly addresses: Addresses } | null = null;
  #attached = 0;
  #next = 2;

  constructor(namespace: Namespace, options: LanOptions) {
    this.namespace = namespace;
    this.options = options;
    namespace.sh('ip link add bridge type bridge; ip link set bridge up');
  }

  get gateway(): Addresses {
    const { subnet4, subnet6 } = this.options;
    return { v4: subnet4?.replace(/0\/24$/, '1') ?? null, v6: subnet6?.replace(/\/64$/, '1') ?? null };
  }

  attach(namespace: Namespace, interfaceName: string, wish: Wish = {}): Addresses {
    const { subnet4, subnet6 } = this.options;
    const number = this.#next++;
    const v4 = wish.v4 === undefined ? (subnet4?.replace(/0\/24$/, `${number}`) ?? null) : wish.v4;
    const v6 = wish.v6 === undefined ? (subnet6?.replace(/\/64$/, number.toString(16)) ?? null) : wish.v6;
    this.plug(namespace, interfaceName, { v4, v6 }, wish.through);
    if (v4 !== null) namespace.sh(`ip route add default via ${this.gateway.v4}`);
    if (v6 !== null) namespace.sh(`ip -6 route add default via ${this.gateway.v6}`);
    return { v4, v6 };
  }

  /** A port of the switch and addresses, without a default route. */
  plug(namespace: Namespace, interfaceName: string, { v4, v6 }: Addresses, through?: Through): void {
    const port = `port${++this.#attached}`;
    cable(this.namespace, port, namespace, interfaceName, through);
    this.namespace.sh(`ip link set ${port} master bridge`);
    if (v4 !== null) namespace.sh(`ip address add ${v4}/24 dev ${interfaceName}`);
    if (v6 !== null) namespace.sh(`ip -6 address add ${v6}/64 dev ${interfaceName}`);
  }

  route(prefix: string, via: string): void {
    if (this.router === null) throw new Error(`${this.namespace.title} has no router for ${prefix}`);
    this.router.namespace.sh(`ip route add ${prefix} via ${via}`);
    const own = this.router.addresses[prefix.includes(':') ? 'v6' : 'v4'];
    if (own !== null) this.router.outside.route(prefix, own);
  }
}
