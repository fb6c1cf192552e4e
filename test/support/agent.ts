/**
 * Calls a module's functions by remote control, to be run in a namespace: `agent.ts MODULE`. A line
 * `{"call":NAME,"args":[…]}` on stdin is answered by a line `{"result":…}` or `{"error":{"code":…,"message":…}}`. An
 * empty line is the last: the process ends once nothing keeps it.
 */

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

type Exported = Record<string, (...args: unknown[]) => unknown>;

const functions = (await import(pathToFileURL(process.argv[2]!).href)) as Exported;

for await (const line of createInterface({ input: process.stdin })) {
  if (line === '') break;
  const { call, args } = JSON.parse(line) as { call: string; args: unknown[] };
  console.log(JSON.stringify(await answer(call, args)));
}
process.stdin.destroy();

async function answer(call: string, args: unknown[]): Promise<unknown> {
  try {
    return { result: (await functions[call]!(...args)) ?? null };
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return { error: { code: code ?? null, message } };
  }
}
