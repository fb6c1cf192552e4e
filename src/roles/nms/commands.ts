/** `cyphonic nms serve`: one NMS, on a register it shares with the other services. */

import type { Contribution } from '../context.ts';
import { serveCommand } from '../service.ts';
import { startNms } from './serve.ts';

export const contribute: Contribution = serveCommand(
  'nms',
  {
    role: 'the node management service, which knows where nodes are and directs them to each other',
    serve: 'run an NMS of a network, in the foreground',
  },
  startNms,
);
