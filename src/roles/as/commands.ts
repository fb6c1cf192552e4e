/** `cyphonic as serve`: the AS with the controller, on a register it shares with the other services. */

import { createLog } from '../../lib/log.ts';
import { MetricsPort } from '../../proto/constants.ts';
import { notifyReady } from '../../sys/notify.ts';
import type { Contribution, Running } from '../context.ts';
import { startController } from '../controller/serve.ts';
import { type Drainable, type DrainOptions, drain, drainOptions, readGrace } from '../drain.ts';
import { readNetworkFile } from '../network-files.ts';
import { metricsOption } from '../service.ts';
import { awaitRegister, awaitShared } from '../stores.ts';
import { chooseTelemetry, type Observed, startTelemetry } from '../telemetry.ts';
import { startAs } from './serve.ts';

export const contribute: Contribution = (program, context) => {
  const as = program.command('as').description('the authentication service, which logs devices in, and the controller');
  drainOptions(as.command('serve'))
    .description('run the AS of a network, in the foreground')
    .requiredOption('--config <file>', "the network's cloud.yaml")
    .addOption(metricsOption())
    .addHelpText('after', '\nExample:\n  cyphonic as serve --config /var/lib/cyphonic/cloud.yaml')
    .action(async (options: DrainOptions & { config: string; metrics?: string }) => {
      readGrace(options.grace);
      const file = readNetworkFile(options.config);
      const log = createLog('as');
      const telemetry = await startTelemetry(chooseTelemetry(options.metrics, file.metrics, MetricsPort.as, log));
      const register = await awaitRegister(file.registerFile, file.network, log, context.stopped, {
        authority: file.caPublicKey,
      });
      const shared =
        register && file.shared !== null ? await awaitShared(file.shared, file.network, log, context.stopped) : null;
      const running: (Running & Drainable & { readonly observed: Observed })[] = [];
      try {
        if (register === null) return;
        running.push(await startController({ file, register, shared, log: createLog('controller') }));
        running.push(await startAs({ file, register, shared, log }));
        telemetry.serving(running.map(({ observed }) => observed));
        context.print(`ready as: port ${file.asPort}/tcp, controller ${file.controllerPort}/tcp`);
        notifyReady(context.env.NOTIFY_SOCKET);
        await context.stopped;
        telemetry.stopping();
        await drain(running, options, log);
      } finally {
        telemetry.stopping();
        for (const service of running.reverse()) await service.stop();
        await shared?.close();
        await register?.close();
        await telemetry.stop();
      }
    });
};
