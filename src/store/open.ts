import type { Network } from '../lib/device.ts';
import type { Register } from './register.ts';
import { openSqlite } from './sqlite.ts';

export function isPostgresUrl(place: string): boolean {
  return /^postgres(ql)?:\/\//.test(place);
}

/**
 * Opens the register at a place: the path of an SQLite file, or the URL of a PostgreSQL database. `authority` is the public
 * key of the CA, for those that issue certificates.
 */
export async function openRegister(place: string, network: Network, authority?: Uint8Array): Promise<Register> {
  if (!isPostgresUrl(place)) return openSqlite(place, network);
  // Its client is not loaded where nobody needs it.
  const { openPostgres } = await import('./postgres.ts');
  return openPostgres(place, network, { ...(authority !== undefined && { authority }) });
}
