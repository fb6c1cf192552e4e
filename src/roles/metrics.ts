/** Every metric of every role, and how counters become samples of them. `docs/metrics.md` lists the same names. */

import type { Times } from '../lib/counters.ts';
import type { MetricFamily, Sample } from '../lib/exposition.ts';

const counter = (help: string): MetricFamily => ({ kind: 'counter', help });
const gauge = (help: string): MetricFamily => ({ kind: 'gauge', help });
const histogram = (help: string): MetricFamily => ({ kind: 'histogram', help });

export const metrics = {
  cyphonic_build_info: gauge('Always 1; says which version answers.'),
  cyphonic_ready: gauge('1 while the role serves, 0 while it starts, stops or lacks something it needs.'),
  cyphonic_process_start_time_seconds: gauge('When the process started, in Unix seconds.'),
  cyphonic_process_cpu_seconds_total: counter('Processor time that the process used.'),
  cyphonic_process_resident_memory_bytes: gauge('Memory of the process that is in use.'),
  cyphonic_event_loop_utilisation_ratio: gauge(
    'Share of the time since the last scrape that the main thread was busy.',
  ),
  cyphonic_dropped_total: counter('Datagrams and packets that were dropped, by reason.'),
  cyphonic_events_total: counter('Events that have no metric of their own, by name.'),
  cyphonic_datagrams_total: counter('UDP datagrams received and sent.'),
  cyphonic_datagram_bytes_total: counter('Octets in these datagrams.'),

  cyphonic_logins_total: counter('Answered logins, by result and reason of the refusal.'),
  cyphonic_login_seconds: histogram('From the Login Request to its acceptance.'),
  cyphonic_connections: gauge('Open TLS connections of devices.'),
  cyphonic_logins_waiting: gauge('Logins that wait for the register or a password hash.'),
  cyphonic_api_requests_total: counter('Requests to the controller, by status class.'),

  cyphonic_registrations_total: counter('Answered Registration Requests.'),
  cyphonic_keep_alives_total: counter('Answered Keep Alives.'),
  cyphonic_nodes_present: gauge('Nodes heard of within the last 90 seconds.'),
  cyphonic_paths_known: gauge('Paths that nodes were directed to and that still count.'),
  cyphonic_directions_total: counter('Answered Direction Requests, by result and how the pair was told to start.'),
  cyphonic_direction_seconds: histogram('From the Direction Request to the Route Direction for the Initiator.'),
  cyphonic_register_questions_waiting: gauge('Questions to the register without an answer yet.'),

  cyphonic_shared_reachable: gauge('1 while what replicas share can be reached.'),

  cyphonic_relay_paths: gauge('Paths announced to the relay, and those of them with a bound end.'),
  cyphonic_relayed_datagrams_total: counter('Datagrams that the relay forwarded.'),
  cyphonic_relayed_bytes_total: counter('Octets in these datagrams.'),
  cyphonic_stream_connections: gauge('Open TLS connections that carry datagrams.'),
  cyphonic_stream_datagrams_total: counter('Datagrams received and sent over TLS.'),
  cyphonic_stream_bytes_total: counter('Octets received and sent over TLS, before encryption.'),

  cyphonic_node_peers: gauge('Peers by state, path and address family.'),
  cyphonic_node_peer_round_trip_seconds: gauge('Round trip to a peer on the path in use.'),
  cyphonic_node_peer_handshake_age_seconds: gauge('Since the key in use with a peer was agreed.'),
  cyphonic_node_peer_bytes_total: counter('Octets of inner packets to and from a peer.'),
  cyphonic_node_path_events_total: counter(
    'Paths that came up, changed their way, went silent, failed, idled or were closed, by the situation of the NATs.',
  ),
  cyphonic_node_nms_round_trip_seconds: gauge('Round trip to the NMS.'),
  cyphonic_node_tun_packets_total: counter('Packets read from and written to the TUN device.'),
  cyphonic_node_tun_bytes_total: counter('Octets in these packets.'),

  cyphonic_adapter_general_nodes: gauge('Devices on the inner link, by state.'),
  cyphonic_adapter_authentications_total: counter('Ends of 802.1X conversations, by result and reason of the failure.'),
  cyphonic_adapter_dropped_total: counter(
    'Frames of the inner link, and messages in them, that were dropped, by reason.',
  ),
} as const satisfies Record<string, MetricFamily>;

export type MetricName = keyof typeof metrics;

/** Checked by the compiler: a sample of a metric that the table has. */
export function sample(name: MetricName, value: number | Times, labels: Sample['labels'] = {}): Sample {
  return { name, labels, value };
}

type Meaning = readonly [metric: MetricName, labels: Sample['labels']];

/** Names of counters with a variable part, and what they mean. */
const patterns: readonly (readonly [RegExp, (...parts: string[]) => Meaning])[] = [
  [/^(?:port-|stream-)?drop-(.+)$/, (reason) => ['cyphonic_dropped_total', { reason: reason! }]],
  [/^link-drop-(.+)$/, (reason) => ['cyphonic_adapter_dropped_total', { reason: reason! }]],
  [/^dot1x-accepted$/, () => ['cyphonic_adapter_authentications_total', { result: 'accepted', reason: '' }]],
  [
    /^dot1x-failed-(.+)$/,
    (reason) => ['cyphonic_adapter_authentications_total', { result: 'failed', reason: reason! }],
  ],
  [/^login-accepted$/, () => ['cyphonic_logins_total', { result: 'accepted', reason: '' }]],
  [/^login-refused-(.+)$/, (reason) => ['cyphonic_logins_total', { result: 'refused', reason: reason! }]],
  [/^registrations$/, () => ['cyphonic_registrations_total', {}]],
  [/^keep-alives$/, () => ['cyphonic_keep_alives_total', {}]],
  [/^directed-(.+)$/, (path) => ['cyphonic_directions_total', { result: 'directed', path: path!, reason: '' }]],
  [
    /^directions-refused-(.+)$/,
    (reason) => ['cyphonic_directions_total', { result: 'refused', path: '', reason: reason! }],
  ],
  [/^api-(\dxx)$/, (status) => ['cyphonic_api_requests_total', { status: status! }]],
  [
    /^path-(\w+)-(\w+)-(\w+)$/,
    (event, nats, path) => ['cyphonic_node_path_events_total', { event: event!, nats: nats!, path: path! }],
  ],
  [/^udp(Received|Sent)Datagrams$/, (way) => ['cyphonic_datagrams_total', { direction: way!.toLowerCase() }]],
  [/^udp(Received|Sent)Bytes$/, (way) => ['cyphonic_datagram_bytes_total', { direction: way!.toLowerCase() }]],
  [/^tun(Read|Written)Packets$/, (way) => ['cyphonic_node_tun_packets_total', { direction: way!.toLowerCase() }]],
  [/^tun(Read|Written)Bytes$/, (way) => ['cyphonic_node_tun_bytes_total', { direction: way!.toLowerCase() }]],
  [/^stream-(received|sent)-datagrams$/, (direction) => ['cyphonic_stream_datagrams_total', { direction: direction! }]],
  [/^stream-(received|sent)-bytes$/, (direction) => ['cyphonic_stream_bytes_total', { direction: direction! }]],
  [/^relayedDatagrams$/, () => ['cyphonic_relayed_datagrams_total', {}]],
  [/^relayedBytes$/, () => ['cyphonic_relayed_bytes_total', {}]],
];

/** Histograms by the metric that counts the same events. */
const timed: Partial<Record<MetricName, MetricName>> = {
  cyphonic_logins_total: 'cyphonic_login_seconds',
  cyphonic_directions_total: 'cyphonic_direction_seconds',
};

/** What a counter means; an unknown one is an event. */
function meaningOf(name: string): Meaning {
  for (const [pattern, read] of patterns) {
    const parts = pattern.exec(name);
    if (parts !== null) return read(...parts.slice(1));
  }
  return ['cyphonic_events_total', { event: name }];
}

/** Samples of named counters that counted anything; those of one meaning are added up. */
export function counterSamples(
  counters: Readonly<Record<string, number>>,
  times: Readonly<Record<string, Times>> = {},
): Sample[] {
  const sums = new Map<string, { name: MetricName; labels: Sample['labels']; value: number }>();
  for (const [name, value] of Object.entries(counters)) {
    // I/O threads of every role count the same things; a relay's packets at a node are no metric.
    if (value === 0) continue;
    const [metric, labels] = meaningOf(name);
    const key = `${metric} ${Object.values(labels).join(' ')}`;
    sums.set(key, { name: metric, labels, value: (sums.get(key)?.value ?? 0) + value });
  }
  const histograms = Object.entries(times).flatMap(([name, value]) => {
    const [metric, labels] = meaningOf(name);
    const histogramName = timed[metric];
    return histogramName === undefined ? [] : [sample(histogramName, value, labels)];
  });
  return [...sums.values(), ...histograms];
}
