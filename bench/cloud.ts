/**
 * `npm run bench:cloud -- [--nodes 2000] [--seconds 4] [--logins 150] [--out FILE]`: what one AS and one NMS process can do.
 * Services and simulated nodes live in one network namespace, the nodes behind a TUN device that leads to a whole range of
 * addresses.
 */

import { join } from 'node:path';
import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import { serviceAddress } from './cloud/processes.ts';

const TELL_MS = 500;
const LONGEST_MS = 3_600_000;

const reason = whyNoLab();
if (reason !== null) throw new Error(`no laboratory: ${reason}`);
const lab = new Lab('cloud');
try {
  const host = lab.namespace('cloud');
  host.sh(`ip address add ${serviceAddress}/32 dev lo`);
  const measure = join(import.meta.dirname, 'cloud/measure.ts');
  const words = [process.execPath, '--disable-warning=ExperimentalWarning', measure, ...process.argv.slice(2)];
  const program = host.spawn(words);
  let told = 0;
  const tell = (): void => {
    process.stdout.write(program.stdout.slice(told));
    told = program.stdout.length;
  };
  const telling = setInterval(tell, TELL_MS);
  const { code } = await program.ended(LONGEST_MS);
  clearInterval(telling);
  tell();
  process.stderr.write(program.stderr);
  process.exitCode = code ?? 1;
} finally {
  await lab.close();
}
