/**
 * The one way to raise an error. The prefix of a code says who is at fault and thereby the exit code:
 * USAGE_ and CONFIG_ the caller (2), DAEMON_ no daemon (3), REFUSED_ the network's answer (4),
 * SYS_ the system (1), REGISTER_ what the register holds (1), PEER_ the other end (1), BUG_ ourselves (1).
 * A template says what, why and what to do; `{name}` is filled from the details.
 */
export const errorTable = {
  BUG_UNREACHABLE: 'internal error: {what}; please report it',
  BUG_ENCODING: 'internal error: {what} has no form on the wire; please report it',
  CONFIG_STATE_DIRECTORY:
    'state directory {directory} cannot be used: {why}; choose another one or correct its owner and mode',
  BUG_ARGUMENT: 'internal error: {what} is not allowed; please report it',
  USAGE_INTERFACE_NAME: '"{name}" is no name for an interface; use 1 to 15 letters, digits, dots and dashes',
  CONFIG_INVALID: '{file}: {why}; correct the file',
  CONFIG_CERTIFICATE:
    'no certificate can be made for {fqdn} ({length} of at most {limit} octets); use lower-case names, at most 8 groups, and shorter ones',
  SYS_CALL: '{call} failed: {errno}{hint}',
  SYS_PORT_IN_USE: 'UDP port {port} is already in use; stop the program that has it or choose another with --port',
  SYS_BIND: 'cannot use UDP port {port} on {address}: {errno}; choose an address of this machine and a permitted port',
  SYS_NO_ADDRESS_FAMILY: 'neither IPv4 nor IPv6 sockets are possible here; give this machine a network',
  SYS_TUN_MISSING:
    'no TUN device ({errno} on /dev/net/tun); load the module (modprobe tun) or pass the device into the container',
  SYS_TUN_PERMISSION: 'not permitted to make a TUN device ({errno}); run as root or with CAP_NET_ADMIN',
  SYS_TUN_NAME: 'cannot make the interface {name} ({errno}); another program has it, choose another name',
  SYS_TOO_MANY_PATHS: 'more than {limit} paths; spread the devices over more processes',
  SYS_OPENSSL: 'OpenSSL refused {call}; use the Node version in package.json',
  SYS_LIBRARY: 'cannot load {name} ({why}); install that library or use the Node version in package.json',
  SYS_PCAP_MISSING: 'libpcap cannot be loaded ({why}); install it (Debian: libpcap0.8) or leave out --capture pcap',
  SYS_PCAP: 'libpcap cannot capture on {name} ({why}); run as root, or leave out --capture pcap',
  SYS_ADDON: 'cannot load the built-in addon {name} ({why}); set TMPDIR to a writable directory mounted without noexec',
  CONFIG_SCHEMA: 'the register {file} has schema version {found}, this program knows {known}; use the newer program',
  CONFIG_AUTHORITY:
    'the register {file} holds certificates of another CA than this AS would issue; give it the cloud.yaml and ca.key of the other replicas',
  CONFIG_SERVICE:
    'the register does not know this service as it is configured ({why}; NodeID {nodeId}); give it the YAML and key files of its replicas',
  CONFIG_NO_NETWORK: 'there is no network in {directory}; correct --dir, or make one with `cyphonic cloud init`',
  CONFIG_UNREADABLE: 'cannot read {file} ({why}); correct the path, or its owner and mode',
  USAGE_VALUE: '{option} {value}: {why}',
  SYS_CONTROLLER: 'the controller {url} did not do it: {why}; check its address, its root certificate and its log',
  REFUSED_CONTROLLER: 'the controller {url} refuses: {why}; check the token and its scope',
  CONFIG_BACKUP:
    'the register of {directory} is on a database server; back it up with pg_dump, and the files of that directory by copying them',
  CONFIG_DATABASE: '--to {url}: {why}',
  SYS_ARCHIVE: 'backup {file} cannot be restored: {why}; use another backup',
  SYS_LISTEN:
    'cannot listen on TCP port {port} ({why}); stop the program that has it or choose another port in cloud.yaml',
  SYS_METRICS:
    'cannot listen on {address} for metrics ({why}); choose another address of this machine with --metrics, or off',
  SYS_PATHS_UNKNOWN:
    'paths are not known here: what the NMSs share cannot be reached; set `shared` in cloud.yaml as in nms.yaml, or see that server',
  SYS_WRITE: 'cannot write {file} ({why}); choose another place, or correct owner, mode and free space',
  SYS_REGISTER: 'cannot use the register {file}: {why}',
  SYS_SHARED: 'no Redis at {url} ({why}); replicas share nothing without one: start it, or correct "shared"',
  CONFIG_SHARED: '"shared" {url} is no URL of a Redis; use redis://HOST:PORT, rediss://HOST:PORT or unix:///SOCKET',
  SYS_NOT_EMPTY: '{path} already exists and is not overwritten; choose another place or move it away',
  REGISTER_DEVICE_EXISTS: 'device {deviceId} is already registered; choose another DeviceID or remove that one first',
  REGISTER_MAC_EXISTS: 'MAC address {mac} already belongs to device {deviceId}; remove that one first',
  REGISTER_UNKNOWN_DEVICE: 'there is no device {deviceId}; `cyphonic device list` shows those registered',
  REGISTER_NOT_ADAPTER: 'device {deviceId} is a general node and cannot be an adapter; name a node',
  REGISTER_ADAPTER_IN_USE: 'device {deviceId} is the adapter of {count} general nodes; remove those first',
  REGISTER_GENERAL_NODE: 'device {deviceId} is a general node and logs in through its adapter; it has no token',
  REGISTER_RANGE_FULL:
    'no virtual address is free in {range4} and {range6}; remove devices or make a network with wider ranges',
  PEER_WRONG_NETWORK:
    'the AS at {address} belongs to another network than the enrolment token; check the address or ask for a new token',
  CONFIG_TOKEN_MISSING:
    'device not enrolled yet and no token given; run `cyphonic device add` on the cloud and pass its token with --token-file',
  CONFIG_NOT_ENROLLED:
    'no device has logged in with the state directory {directory} yet; correct --state, or start it first',
  CONFIG_TOKEN_OTHER:
    'state directory {directory} belongs to device {device}, the token to {other}; use another --state directory',
  REFUSED_LOGIN: 'the network refused device {device}: {why}',
  REFUSED_DEVICE:
    'device {device} was disabled or removed by the administrator; ask for it to be enabled or added again',
  CONFIG_CLOCK: "the clock of this machine ({time}) is outside the certificate's validity; set the clock",
  SYS_CONNECTION: 'connection failed: {why}',
  SYS_PROXY: 'the HTTP proxy {proxy} {why}',
  SYS_UNREACHABLE: 'no AS answers ({why}); check the network and that the cloud runs',
  DAEMON_SILENT: 'the daemon of {directory} does not answer; stop it with `cyphonic down --state {directory}`',
  SYS_TOOL_MISSING: '{name} is missing on this system; install the package {package}',
  SYS_TOOL: '{name} failed: {why}',
  CONFIG_OVERLAP:
    'the overlay range {range} overlaps {what} of this host; remove that, or make the network with another range',
  USAGE_STATE_IN_USE:
    'another daemon (pid {pid}) uses this state directory; stop it with `cyphonic down --state {directory}` or choose another',
  DAEMON_NOT_RUNNING: 'no daemon runs on {directory}; start it with `cyphonic node up --state {directory}`',
  DAEMON_ALREADY_DOWN:
    'no daemon runs on {directory}, and none left anything there; correct --state if you meant another',
  DAEMON_ENDED: 'the daemon of {directory} ended before it answered; see its log',
  SYS_RESOLVER: 'the resolver cannot listen on {address} port {port} ({why}); see what does with `ss -lnp`',
  SYS_DNS: 'the system cannot be made to ask for the overlay names by --dns {mode} ({why}); use --dns auto or none',
  SYS_SETTING: '{file} cannot be set ({why}); run as root, or in a container with a writable /proc/sys/net',
  SYS_NO_INTERFACE: 'there is no network interface {name} in this network namespace; check the name with `ip link`',
  USAGE_OTHER_NAMESPACE:
    'the daemon ran in another network namespace; run this there (ip netns exec), or remove {file} if that namespace is gone',
  PEER_SELF: '{target} is this device itself; ping another one',
  USAGE_TOKEN_INVALID:
    'this is no enrolment token (one line that begins with cyp1_); copy it again as `cyphonic device add` printed it',
  SYS_OFFLINE: 'the daemon is not online yet; see `cyphonic status`',
  PEER_UNKNOWN_NAME: 'no device {target} in this network, or it is disabled; see `cyphonic device list` on the cloud',
  REFUSED_POLICY: 'the network does not let this device talk to {target}; ask the administrator',
  PEER_NO_REPLY: 'no reply from {target}; it may be switched off or cut off, see `cyphonic status`',
  SYS_DAEMON_STAYS: 'the daemon of {directory} (process {pid}) does not stop; end it with kill',
  PEER_INVALID: 'the other side sent something invalid: {what}',
} as const;

export type ErrorCode = keyof typeof errorTable;

const exitCodes: Record<string, number> = { USAGE: 2, CONFIG: 2, DAEMON: 3, REFUSED: 4 };

export class CyphonicError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, details: Record<string, unknown> = {}, cause?: unknown) {
    super(
      errorTable[code].replace(/\{(\w+)\}/g, (_, name: string) => String(details[name] ?? '')),
      cause === undefined ? undefined : { cause },
    );
    this.name = 'CyphonicError';
    this.code = code;
    this.details = details;
  }

  /** Process exit code for this error, see the table in the interface documentation. */
  get exitCode(): number {
    return exitCodes[this.code.slice(0, this.code.indexOf('_'))] ?? 1;
  }
}

/** Throws; typed `never` so that it can stand where a value is expected. */
export function raise(code: ErrorCode, details: Record<string, unknown> = {}, cause?: unknown): never {
  throw new CyphonicError(code, details, cause);
}
