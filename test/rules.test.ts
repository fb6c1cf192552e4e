/** The rules of the source tree that no compiler checks. A failure lists every offence as file:line. */

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = globSync('{src,test,bench,scripts}/**/*.ts', { cwd: root })
  .filter((path) => !path.startsWith('test/vectors/'))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
  .map((file) => ({ ...file, code: blank(file.text) }));
const product = sources.filter((file) => file.path.startsWith('src/'));

type Source = (typeof sources)[number];

/** What each folder of src may import from the others. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  proto: ['lib'],
  crypto: ['lib', 'proto'],
  net: ['lib'],
  core: ['lib', 'proto', 'crypto', 'net'],
  sys: ['lib'],
  pipeline: ['lib', 'proto', 'crypto', 'net', 'sys'],
  store: ['lib'],
  roles: ['lib', 'proto', 'crypto', 'net', 'core', 'sys', 'pipeline', 'store', 'version.ts'],
  'main.ts': ['lib', 'roles', 'version.ts'],
};

/** Comments and string contents replaced by spaces, lines kept. */
function blank(text: string): string {
  const literal = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`/g;
  return text.replace(literal, (match) => match.replace(/[^\n]/g, ' '));
}

type Import = { readonly from: string; readonly line: number };

/** Static, dynamic and side-effect imports, and re-exports. */
function importsOf(file: Source): Import[] {
  const form = /^\s*(?:import|export)\s(?:[^;'"]*?\sfrom\s)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;
  return [...file.text.matchAll(form)].map((match) => ({
    from: match[1] ?? match[2] ?? '',
    line: file.text.slice(0, match.index + match[0].length).split('\n').length,
  }));
}

function findings(files: readonly Source[], pattern: RegExp): string[] {
  return files.flatMap((file) =>
    [...file.code.matchAll(pattern)].map(
      (match) => `${file.path}:${file.code.slice(0, match.index).split('\n').length}: ${match[0].trim()}`,
    ),
  );
}

/** src/roles/node/commands.ts → roles, node; files directly in roles, and those of roles/member, belong to all roles. */
function placeOf(path: string): { folder: string; role: string | null } {
  const [, folder = '', role, rest] = path.split('/');
  return { folder, role: folder === 'roles' && rest !== undefined && role !== 'member' ? role! : null };
}

function isAllowed(from: string, to: string): boolean {
  const [here, there] = [placeOf(from), placeOf(to)];
  if (here.folder !== there.folder) return mayImport[here.folder]?.includes(there.folder) ?? false;
  // The controller is served by the `as` role (protocol section 1).
  if (here.role === 'as' && there.role === 'controller') return true;
  return there.role === null || here.role === there.role || here.role === 'cloud';
}

describe('imports', () => {
  const all = product.flatMap((file) => importsOf(file).map((entry) => ({ ...entry, file: file.path })));
  const relative = all.filter((entry) => entry.from.startsWith('.'));
  const packages = all.filter((entry) => !entry.from.startsWith('.'));

  it('are found', () => {
    expect(relative.length).toBeGreaterThan(50);
  });

  it('follow the table of the architecture', () => {
    const offences = relative.filter(({ file, from }) => !isAllowed(file, normalize(join(dirname(file), from))));
    expect(offences).toEqual([]);
  });

  it('end in .ts', () => {
    const here = sources.flatMap((file) => importsOf(file).map((entry) => ({ ...entry, file: file.path })));
    expect(here.filter(({ from }) => from.startsWith('.') && !/\.(ts|json)$/.test(from))).toEqual([]);
  });

  it('bring koffi into sys only', () => {
    expect(packages.filter(({ file, from }) => from.startsWith('koffi') && !file.startsWith('src/sys/'))).toEqual([]);
  });

  it('bring no I/O, clock or randomness into the state machines and codecs', () => {
    const pure = ['node:util', 'node:buffer', 'dns-packet'];
    const inside = packages.filter(({ file }) => /^src\/(core|proto|net)\//.test(file));
    expect(inside.filter(({ from }) => !pure.includes(from))).toEqual([]);
  });
});

it('no file is longer than 400 lines', () => {
  const long = sources.filter((file) => file.text.split('\n').length - 1 > 400).map((file) => file.path);
  expect(long).toEqual([]);
});

it('state machines and codecs have no clock, timers or randomness of their own', () => {
  const machines = product.filter((file) => /^src\/(core|proto|net)\//.test(file.path));
  const impure = /\b(Date\.now|new Date\(\)|Math\.random|performance\.|setTimeout|setInterval|setImmediate|process\.)/g;
  expect(findings(machines, impure)).toEqual([]);
});

it('only main reads arguments, environment and signals', () => {
  const others = product.filter((file) => file.path !== 'src/main.ts');
  expect(findings(others, /\bprocess\.(argv|env|on|once)\b/g)).toEqual([]);
});

it.each([
  ['enum', /\benum\s+\w+\s*\{/g],
  ['namespace', /\b(?:namespace|module)\s+[\w.]+\s*\{/g],
  ['any', /(?:[:<]|(?<!\|)\||(?<!&)&|=>|\bas|<[^<>()]*,)\s*any\b(?!\s*[(.?])/g],
  // InvalidArgumentError is how commander is told of wrong usage.
  ['error outside the table', /\bnew\s+(?!Cyphonic|InvalidArgument)\w*Error\(/g],
])('there is no %s in src', (_, pattern) => {
  expect(findings(product, pattern)).toEqual([]);
});

it('nothing is left for later', () => {
  // Written so that this file is no finding itself.
  const mark = /\b(?:T[O]DO|F[I]XME|X[X]X)\b/;
  expect(sources.filter((file) => mark.test(file.text)).map((file) => file.path)).toEqual([]);
});
