/** `cloud serve`: the AS, and the services beside it, in one process on one register. */

import { createLog } from '../../lib/log.ts';
import { MetricsPort } from '../../proto/constants.ts';
import type { Register } from '../../store/register.ts';
import { ownPlace, type Shared } from '../../store/shared.ts';
import { notifyReady } from '../../sys/notify.ts';
import { type AsService, startAs } from '../as/serve.ts';
import type { Context, Running } from '../context.ts';
import { type Controller, startController } from '../controller/serve.ts';
import { type Drainable, type DrainOptions, drain, readGrace } from '../drain.ts';
import { type NetworkFile, readServiceFile } from '../network-files.ts';
import { startNms } from '../nms/serve.ts';
import { serviceNames } from '../service-names.ts';
import { awaitRegister, awaitShared } from '../stores.ts';
import { chooseTelemetry, type Observed, startTelemetry } from '../telemetry.ts';
import { startTrs } from '../trs/serve.ts';
import type { Adopt } from '../trs/terminal.ts';

export type CloudOptions = DrainOptions & { readonly metrics?: string };

export async function serveCloud(file: NetworkFile, options: CloudOptions, context: Context): Promise<void> {
  const log = createLog('cloud');
  readGrace(options.grace);
  const choice = chooseTelemetry(options.metrics, file.metrics, MetricsPort.cloud, log);
  const telemetry = await startTelemetry(choice);
  let register: Register | null = null;
  const running: (Running & Drainable & { readonly observed?: Observed })[] = [];
  try {
    register = await awaitRegister(file.registerFile, file.network, log, context.stopped, {
      authority: file.caPublicKey,
    });
    if (register === null) return;
    const services = file.serviceFiles.map((path) => readServiceFile(path));
    // Who shares a place shares it: within this process that is a file of its own.
    const stores = new Map<string | null, Shared>();
    for (const place of new Set([file.shared, ...services.map(({ shared }) => shared)])) {
      const at = place ?? ownPlace(file.registerFile, 'presence');
      const shared = await awaitShared(at, file.network, log, context.stopped);
      if (shared === null) return;
      running.push({ stop: () => shared.close() });
      stores.set(place, shared);
    }
    // Where 443/tcp alone is let out, devices come to all of it by the TRS's port.
    const servers: { as?: AsService; controller?: Controller } = {};
    const others = new Map<string, Adopt>();
    for (const role of ['as', 'controller'] as const) {
      others.set(serviceNames(file.network.domain)[role], (socket) => {
        if (servers[role] === undefined) socket.destroy();
        else servers[role].adopt(socket);
      });
    }
    for (const service of services) {
      const start = { nms: startNms, trs: startTrs }[service.role];
      const shared = stores.get(service.shared)!;
      running.push(await start({ file: service, register, shared, others, log: createLog(service.name) }));
    }
    const shared = stores.get(file.shared)!;
    servers.controller = await startController({ file, register, shared, log: createLog('controller') });
    running.push(servers.controller);
    // Devices come to the AS first, so it is the last to be there.
    servers.as = await startAs({ file, register, shared, log: createLog('as') });
    running.push(servers.as);
    telemetry.serving(running.flatMap(({ observed }) => observed ?? []));
    const ports = services.map(({ name, port }) => `${name} ${port}/udp`);
    const controller = `controller ${file.controllerPort}/tcp`;
    context.print(`ready cloud ${file.network.domain}: ${[`as ${file.asPort}/tcp`, ...ports, controller].join(', ')}`);
    notifyReady(context.env.NOTIFY_SOCKET);
    await context.stopped;
    telemetry.stopping();
    await drain(running, options, log);
  } finally {
    telemetry.stopping();
    for (const service of running.reverse()) await service.stop();
    await register?.close();
    await telemetry.stop();
  }
}
