/**
 * Bundles the program for the single executable: `bundle.ts DIRECTORY` writes there main.mjs, each worker's source and
 * sea.json, which tells `node --build-sea` what to put together (architecture: docs/decisions/single-executable.md).
 */

import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { addonFile, addonNames, assetOfAddon } from '../src/sys/addon.ts';
import { assetOfWorker } from '../src/sys/worker.ts';

const source = fileURLToPath(new URL('../src/', import.meta.url));
const directory = resolve(process.argv[2] ?? 'dist/build');

/** better-sqlite3 looks for its addon beside its own file, which does not exist in a bundle. */
const addonsFromAssets: Plugin = {
  name: 'addons from assets',
  setup({ onLoad }) {
    onLoad({ filter: /better-sqlite3\/lib\/binding\.js$/ }, () => ({
      contents: `
        import { loadAddon } from ${JSON.stringify(join(source, 'sys/addon.ts'))};
        export const getBinding = () => loadAddon('better-sqlite3');`,
      resolveDir: source,
      loader: 'js',
    }));
  },
};

/**
 * Piscina starts its threads from a file of its own, which loads the task's file: neither exists in the executable. There
 * its threads start from the asset that the file name names, and the task is packed with them.
 */
const tasksFromAssets: Plugin = {
  name: 'tasks from assets',
  setup({ onLoad, onResolve }) {
    onLoad({ filter: /piscina\/dist\/index\.js$/ }, async ({ path }) => ({
      contents: replaced(path, "(0, node_path_1.resolve)(__dirname, 'worker.js')", 'this.options.filename'),
      loader: 'js',
    }));
    onLoad({ filter: /piscina\/dist\/worker_pool\/index\.js$/ }, async ({ path }) => ({
      contents: replaced(
        path,
        'new node_worker_threads_1.Worker(filename, workerOpts)',
        "new node_worker_threads_1.Worker(require('node:sea').getAsset(filename, 'utf8'), { ...workerOpts, eval: true })",
      ),
      loader: 'js',
    }));
    onResolve({ filter: /^task:/ }, ({ path }) => ({ path: path.slice(5), namespace: 'task' }));
    onLoad({ filter: /.*/, namespace: 'task' }, ({ path }) => ({
      contents: replaced(
        createRequire(import.meta.url)
          .resolve('piscina')
          .replace(/main\.js$/, 'worker.js'),
        'async function getHandler(filename, name) {',
        `const task = require(${JSON.stringify(path)}).default; async function getHandler() { return task;`,
      ),
      resolveDir: dirname(createRequire(import.meta.url).resolve('piscina')),
      loader: 'js',
    }));
  },
};

/** A file's text with one place changed, which must be there. */
function replaced(path: string, from: string, to: string): string {
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${path} is not what this script expects: no ${from}`);
  return text.replace(from, to);
}

/** CommonJS packages ask for these; in the executable `require` can only give Node's own modules. */
const banner = `
  import { createRequire as cyphonicRequire } from 'node:module';
  const require = cyphonicRequire(process.execPath);
  const __filename = process.execPath;
  const __dirname = process.execPath.slice(0, process.execPath.lastIndexOf('/'));`;

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  minifySyntax: true,
  // Names in stack traces stay readable.
  keepNames: true,
  legalComments: 'none',
  banner: { js: banner },
  plugins: [addonsFromAssets, tasksFromAssets],
  // Piscina's, for priorities that nobody asks for.
  external: ['@napi-rs/nice'],
};

const workers = globSync('**/*.worker.ts', { cwd: source }).map((file) => file.replace(/\.worker\.ts$/, ''));
const output = (name: string): string => join(directory, name);

await build({ ...common, entryPoints: [join(source, 'main.ts')], outfile: output('main.mjs') });
for (const name of workers) {
  const file = join(source, `${name}.worker.ts`);
  // A worker that exports its routine is a task of piscina's.
  const entry = readFileSync(file, 'utf8').includes('export default') ? `task:${file}` : file;
  await build({ ...common, entryPoints: [entry], outfile: output(assetOfWorker(name)) });
}

const configuration = {
  main: output('main.mjs'),
  mainFormat: 'module',
  executable: output('node'),
  output: join(dirname(directory), 'cyphonic'),
  disableExperimentalSEAWarning: true,
  execArgv: ['--disable-warning=ExperimentalWarning'],
  // A daemon that runs as root takes no code from NODE_OPTIONS.
  execArgvExtension: 'none',
  assets: Object.fromEntries([
    ...addonNames.map((name) => [assetOfAddon(name), addonFile(name)]),
    ...workers.map((name) => [assetOfWorker(name), output(assetOfWorker(name))]),
  ]),
};
writeFileSync(output('sea.json'), `${JSON.stringify(configuration, null, 2)}\n`);
console.log(`bundled ${relative(process.cwd(), output('main.mjs'))} and ${workers.length} workers`);
