import { expect, it } from 'vitest';
import { Lab } from './lab.ts';

const NODES = 60;
const WINDOW_MS = 5_000;

it('nodes come back to an NMS that was gone for a minute soon, but not all at once', async () => {
  const lab = await Lab.open();
  const nodes = [];
  for (let i = 0; i < NODES; i++) nodes.push(await lab.node(`n${i}`, lab.publicly()));
  const { host } = lab.cloud.nms;
  const sentIn = (ms: number): number => {
    const before = lab.sent.length;
    lab.pass(ms);
    return lab.sent.slice(before).filter(({ to }) => to.address === host.address4 && to.port === host.port).length;
  };
  const steady = sentIn(100_000) / (100_000 / WINDOW_MS);
  lab.cloud.nms.kill();
  lab.pass(60_000);
  lab.cloud.nms.start();
  const windows = Array.from({ length: 8 }, () => sentIn(WINDOW_MS));
  expect(nodes.filter(({ snapshot }) => snapshot?.state !== 'online')).toEqual([]);
  expect(lab.cloud.nms.sizes?.nodes).toBe(NODES);
  // The few of this test vary by chance.
  expect(Math.max(...windows) / steady).toBeLessThan(3 * 1.3);
});
