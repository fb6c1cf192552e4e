/** Whom a device has paths with, as the NMSs share it: paths they directed, for as long as the keys of these count. */

import { peersOf } from '../../core/nms/replicas.ts';
import { raise } from '../../lib/errors.ts';
import type { Register } from '../../store/register.ts';
import type { Shared } from '../../store/shared.ts';
import { type DeviceView, toView } from '../administration.ts';
import { nmsRecords } from '../nms-records.ts';

export type PeerPage = { readonly items: readonly DeviceView[]; readonly next: string | null };
/** `after`: NodeID of the last one of the page before. */
export type PeerRequest = { readonly after: string | null; readonly limit: number };

/** By NodeID. `shared` null: this controller was not told where the NMSs share what they know. */
export async function listPeers(
  register: Register,
  shared: Shared | null,
  nodeId: string,
  { after, limit }: PeerRequest,
): Promise<PeerPage> {
  if (shared === null) return raise('SYS_PATHS_UNKNOWN', {});
  const answer = await register.query({ get: 'services' });
  const services = answer.got === 'services' ? answer.services.filter(({ role }) => role === 'nms') : [];
  const sets = await Promise.all(services.map((nms) => shared.members(nmsRecords(nms.nodeId) + peersOf(nodeId)))).catch(
    (cause: unknown) => raise('SYS_PATHS_UNKNOWN', {}, cause),
  );
  const all = [...new Set(sets.flat())].sort().filter((peer) => after === null || peer > after);
  const page = all.slice(0, limit);
  const found = await Promise.all(
    page.map((value) => register.query({ get: 'device', selector: { by: 'nodeId', value } })),
  );
  const items = found.flatMap((device) =>
    device.got === 'device' && device.device !== null ? [toView(device.device)] : [],
  );
  return { items, next: all.length > limit ? page.at(-1)! : null };
}
