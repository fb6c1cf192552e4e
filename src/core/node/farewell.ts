/** The goodbye of a path: a Notice to the peer, by the way in use. */

import type { Now } from '../../lib/time.ts';
import { NoticeReason } from '../../proto/messages.ts';
import { sendAll } from '../exchange.ts';
import { byWay, headerBy } from './by-way.ts';
import type { NodeContext } from './context.ts';
import type { Path } from './path.ts';
import type { Way } from './ways.ts';

const TRIES = 3;

/** Says it until the peer knows, or does not answer; then calls `end`. */
export function bidFarewell(context: NodeContext, path: Path, way: Way, end: () => void, now: Now): void {
  context.ask(
    {
      ...byWay(path, way),
      owner: path,
      request: farewell(path, way),
      tries: TRIES,
      answered: end,
      failed: end,
    },
    now,
  );
}

/** The goodbye of a node that stops: said once, as nobody waits for the answer. */
export function sayGoodbye(context: NodeContext, path: Path, way: Way): void {
  const notice = { ...farewell(path, way), transactionId: 1 };
  context.emit(...sendAll(path.channel.seal(notice), way.endpoint));
}

function farewell(path: Path, way: Way) {
  const body = { reason: NoticeReason.pathClosed, subject: path.id };
  return { type: 'notice', ...headerBy(path, way), body } as const;
}
