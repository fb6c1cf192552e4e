/** Documents that commands write their results into, each its own part, between comments that name it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('../../../docs/', import.meta.url);

/** The two ends of a part. */
function ends(part: string): readonly [string, string] {
  return [`<!-- ${part} -->\n`, `<!-- end of ${part} -->\n`];
}

/** Changes what a document says between the comments of one part. */
export function rewrite(document: string, part: string, change: (before: string) => string): void {
  const file = fileURLToPath(new URL(document, folder));
  const text = readFileSync(file, 'utf8');
  const [first, last] = ends(part);
  const [begin, end] = [text.indexOf(first) + first.length, text.indexOf(last)];
  if (begin < first.length || end < begin) throw new Error(`${document} has no part "${part}"`);
  writeFileSync(file, `${text.slice(0, begin)}${change(text.slice(begin, end))}${text.slice(end)}`);
}
