/** Who asks: the holder of an API token, or an adapter that signs with its pinned key (protocol section 2.4). */

import type { TLSSocket } from 'node:tls';
import { verifyController } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { isDeviceId } from '../../lib/device.ts';
import { CONTROLLER_EXPORTER_LABEL } from '../../proto/constants.ts';
import type { Register } from '../../store/register.ts';
import type { Caller } from './routes.ts';
import type { TokenFile } from './tokens.ts';

export type Authentication = {
  readonly tokens: TokenFile;
  readonly register: Pick<Register, 'query'>;
  readonly primitives: Primitives;
};

/** Null: nobody we know. Nothing in the answer or its time tells which part was wrong. */
export async function authenticate(
  { tokens, register, primitives }: Authentication,
  authorization: string | undefined,
  socket: TLSSocket,
): Promise<Caller | null> {
  const [, scheme, credentials = ''] = /^([\w-]+) +(\S+)$/.exec(authorization ?? '') ?? [];
  if (scheme?.toLowerCase() === 'bearer') {
    const token = tokens.find(credentials);
    return token === null ? null : { kind: 'token', name: token.name, scope: token.scope };
  }
  if (scheme?.toLowerCase() !== 'cyphonic-adapter') return null;
  const [, deviceId = '', encoded = ''] = /^([^:]*):([\w-]{86})$/.exec(credentials) ?? [];
  if (!isDeviceId(deviceId)) return null;
  const answer = await register.query({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
  const device = answer.got === 'device' ? answer.device : null;
  if (device?.state !== 'enrolled' || device.kind === 'general' || device.signKey === null) return null;
  const exporter = socket.exportKeyingMaterial(32, CONTROLLER_EXPORTER_LABEL, Buffer.alloc(0));
  const signature = Buffer.from(encoded, 'base64url');
  return verifyController(primitives, device.signKey, exporter, signature)
    ? { kind: 'adapter', deviceId: device.deviceId }
    : null;
}
