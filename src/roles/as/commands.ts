/** `cyphonic as serve`: the AS alone, on a register it shares with the other services. */

import { createLog } from '../../lib/log.ts';
import { openSqlite } from '../../store/sqlite.ts';
import { notifyReady } from '../../sys/notify.ts';
import type { Contribution } from '../context.ts';
import { readNetworkFile } from '../network-files.ts';
import { startAs } from './serve.ts';

export const contribute: Contribution = (program, context) => {
  program
    .command('as')
    .description('the authentication service, which logs devices in')
    .command('serve')
    .description('run the AS of a network, in the foreground')
    .requiredOption('--config <file>', "the network's cloud.yaml")
    .addHelpText('after', '\nExample:\n  cyphonic as serve --config /var/lib/cyphonic/cloud.yaml')
    .action(async (options: { config: string }) => {
      const file = readNetworkFile(options.config);
      const log = createLog('as');
      const register = openSqlite(file.registerFile, file.network);
      try {
        const running = await startAs({ file, register, log });
        context.print(`ready as: port ${file.asPort}/tcp`);
        notifyReady(context.env.NOTIFY_SOCKET);
        await context.stopped;
        await running.stop();
      } finally {
        await register.close();
      }
    });
};
