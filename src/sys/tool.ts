/** The system's own programs (nft, resolvectl …), by their usual places rather than the caller's PATH: daemons run as root. */

import { spawn } from 'node:child_process';
import { raise } from '../lib/errors.ts';

export const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin';

const packages: Record<string, string> = { nft: 'nftables', resolvectl: 'systemd-resolved', busctl: 'systemd' };

export type ToolResult = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** Runs a program to its end, with `input` on its stdin. Raises only if it cannot be started. */
export async function runTool(
  name: string,
  args: readonly string[],
  { input = '', path = systemPath }: { input?: string; path?: string } = {},
): Promise<ToolResult> {
  const child = spawn(name, args, { env: { PATH: path, LC_ALL: 'C' }, stdio: ['pipe', 'pipe', 'pipe'] });
  const gather = async (stream: NodeJS.ReadableStream): Promise<string> => {
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk;
    return text;
  };
  // A program that ends without reading its input is judged by its status, not by our broken pipe.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve(status ?? 1));
  });
  try {
    const [status, stdout, stderr] = await Promise.all([ended, gather(child.stdout), gather(child.stderr)]);
    return { status, stdout, stderr };
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
    if (why === 'ENOENT') raise('SYS_TOOL_MISSING', { name, package: packages[name] ?? name }, cause);
    return raise('SYS_TOOL', { name, why }, cause);
  }
}

/** Runs a program that has to succeed. */
export async function requireTool(name: string, args: readonly string[], input = ''): Promise<string> {
  const { status, stdout, stderr } = await runTool(name, args, { input });
  if (status !== 0) raise('SYS_TOOL', { name, why: firstLine(stderr) || `exit status ${status}` });
  return stdout;
}

export function firstLine(text: string): string {
  return text.trimStart().split('\n', 1)[0]!.trim();
}
