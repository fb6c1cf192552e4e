/** Ends 0 if node_modules holds what package-lock.json asks for. Runs on any Node, as it decides whether ours is there. */

import { readFileSync } from 'node:fs';

const read = (file) => {
  try {
    return JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')).packages;
  } catch {
    return null;
  }
};

const wanted = read('package-lock.json');
const installed = read('node_modules/.package-lock.json');
// Optional packages are for other platforms and may be missing.
const satisfied = (path, { version, optional }) =>
  path === '' || (installed[path] === undefined ? optional === true : installed[path].version === version);

process.exitCode =
  wanted !== null && installed !== null && Object.entries(wanted).every(([path, entry]) => satisfied(path, entry))
    ? 0
    : 1;
