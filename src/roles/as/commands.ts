/** `cyphonic as serve`: the AS alone, on a register it shares with the other services. */

import { createLog } from '../../lib/log.ts';
import { MetricsPort } from '../../proto/constants.ts';
import { openSqlite } from '../../store/sqlite.ts';
import { notifyReady } from '../../sys/notify.ts';
import type { Contribution } from '../context.ts';
import { readNetworkFile } from '../network-files.ts';
import { metricsOption } from '../service.ts';
import { chooseTelemetry, startTelemetry } from '../telemetry.ts';
import { startAs } from './serve.ts';

export const contribute: Contribution = (program, context) => {
  program
    .command('as')
    .description('the authentication service, which logs devices in')
    .command('serve')
    .description('run the AS of a network, in the foreground')
    .requiredOption('--config <file>', "the network's cloud.yaml")
    .addOption(metricsOption())
    .addHelpText('after', '\nExample:\n  cyphonic as serve --config /var/lib/cyphonic/cloud.yaml')
    .action(async (options: { config: string; metrics?: string }) => {
      const file = readNetworkFile(options.config);
      const log = createLog('as');
      const telemetry = await startTelemetry(chooseTelemetry(options.metrics, file.metrics, MetricsPort.as, log));
      const register = openSqlite(file.registerFile, file.network);
      try {
        const running = await startAs({ file, register, log });
        telemetry.serving([running.observed]);
        context.print(`ready as: port ${file.asPort}/tcp`);
        notifyReady(context.env.NOTIFY_SOCKET);
        await context.stopped;
        telemetry.stopping();
        await running.stop();
      } finally {
        await register.close();
        await telemetry.stop();
      }
    });
};
