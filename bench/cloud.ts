/**
 * `npm run bench:cloud -- [--nodes 2000] [--seconds 4] [--logins 150] [--out FILE]`: what one AS and one NMS process can do.
 * Services and simulated nodes live in one network namespace, the nodes behind a TUN device that leads to a whole range of
 * addresses.
 */

import { join } from 'node:path';
import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import { serviceAddress } from './cloud/processes.ts';

const reason = whyNoLab();
if (reason !== null) throw new Error(`no laboratory: ${reason}`);
const lab = new Lab('cloud');
try {
  const host = lab.namespace('cloud');
  host.sh(`ip address add ${serviceAddress}/32 dev lo`);
  const measure = join(import.meta.dirname, 'cloud/measure.ts');
  const words = [process.execPath, '--disable-warning=ExperimentalWarning', measure, ...process.argv.slice(2)];
  const program = host.spawn(words);
  const { code } = await program.ended(1_800_000);
  process.stderr.write(program.stderr);
  process.stdout.write(program.stdout);
  process.exitCode = code ?? 1;
} finally {
  await lab.close();
}
