/** `cyphonic trs serve`: one TRS, on a register it shares with the other services. */

import type { Contribution } from '../context.ts';
import { serveCommand } from '../service.ts';
import { startTrs } from './serve.ts';

export const contribute: Contribution = serveCommand(
  'trs',
  {
    role: 'the tunnel relay service, which forwards between nodes that cannot reach each other',
    serve: 'run a TRS of a network, in the foreground',
  },
  startTrs,
);
