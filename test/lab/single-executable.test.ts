/** The program in one file, on hosts that have neither Node nor node_modules in reach. */

import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { command } from './toolkit/command.ts';
import { Network } from './toolkit/network.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A program that hides the checkout's packages and the environment before it becomes the executable. */
function isolate(directory: string, executable: string): string {
  const file = join(directory, 'isolated');
  const hide = `mount -t tmpfs none '${root}node_modules' && exec env -i PATH= NODE_OPTIONS=--no-such-option '${executable}' "$@"`;
  writeFileSync(file, `#!/bin/sh\nexec unshare -m sh -c '${hide.replaceAll("'", "'\\''")}' sh "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

describeLab('the single executable', () => {
  it('runs cloud and nodes by itself', () =>
    inLab('single-executable', async (lab) => {
      command(['sh', join(root, 'scripts/build-sea.sh'), lab.directory]);
      const program = isolate(lab.directory, join(lab.directory, 'cyphonic'));
      const internet = lab.internet();
      const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
      const network = await Network.start(lab, cloud, { program });
      const a = await network.addNode(lab.host('a', internet, { v4: '192.0.2.11' }));
      const b = await network.addNode(lab.host('b', internet, { v4: '192.0.2.12' }));
      await a.systemPing(b.fqdn);
      const { vip4 } = await b.status();
      const { sent, received } = await stream(a.host, b.host, String(vip4), { mebibytes: 10 });
      expect(received).toBe(sent);
    }));
});
