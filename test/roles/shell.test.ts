import { describe, expect, it } from 'vitest';
import type { Action } from '../../src/core/actions.ts';
import type { Machine } from '../../src/core/machine.ts';
import { Counters } from '../../src/lib/counters.ts';
import type { Log } from '../../src/lib/log.ts';
import { type RegisterAccess, Shell } from '../../src/roles/shell.ts';
import { readClock } from '../../src/sys/clock.ts';
import { eventually } from '../support/eventually.ts';

type Special = { readonly do: 'special'; readonly value: number };

const home = { address: '192.0.2.1', port: 7441 };
const loads: Action[] = [{ do: 'load', ticket: 4, query: { get: 'services' } }];

function setup(register?: RegisterAccess) {
  const inputs: unknown[][] = [];
  const script: (Action | Special)[][] = [];
  const said: string[] = [];
  const special: number[] = [];
  const sent: unknown[] = [];
  const say = (level: string) => (message: string) => void said.push(`${level}: ${message}`);
  const log: Log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  const input = (...values: unknown[]): (Action | Special)[] => {
    inputs.push(values);
    return script.shift() ?? [];
  };
  const machine: Machine<Special> = {
    receive: (datagram, from) => input('receive', datagram, from),
    tick: () => input('tick'),
    loaded: (ticket, answer) => input('loaded', ticket, answer),
    saved: (ticket, result) => input('saved', ticket, result),
  };
  const counters = new Counters();
  const shell = new Shell<Special>({
    machine,
    counters,
    log,
    send: (to, datagram) => void sent.push([to, datagram]),
    perform: (action) => void special.push(action.value),
    ...(register !== undefined && { register }),
  });
  return { shell, inputs, script, said, special, sent, counters };
}

describe('a shell', () => {
  it('carries out actions in order', () => {
    const { shell, sent, special, counters, said } = setup();
    const datagram = new Uint8Array(3);
    shell.run([
      { do: 'send', to: home, datagram },
      { do: 'count', name: 'hello' },
      { do: 'special', value: 7 },
      { do: 'log', level: 'info', message: 'done' },
    ]);
    expect(sent).toEqual([[home, datagram]]);
    expect(special).toEqual([7]);
    expect(counters.snapshot()).toEqual({ hello: 1 });
    expect(said).toEqual(['info: done']);
  });

  it('keeps one timer: the latest wake', async () => {
    const { shell, inputs } = setup();
    const { ms } = readClock();
    shell.run([
      { do: 'wake', at: ms },
      { do: 'wake', at: Number.POSITIVE_INFINITY },
    ]);
    shell.run([{ do: 'wake', at: ms + 30 }]);
    await eventually(() => expect(inputs).toEqual([['tick']]));
    expect(readClock().ms).toBeGreaterThanOrEqual(ms + 29);
    shell.stop();
  });

  it('takes nothing in once stopped', async () => {
    const { shell, inputs } = setup();
    shell.run([{ do: 'wake', at: 0 }]);
    shell.stop();
    shell.receive(new Uint8Array(1), home);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(inputs).toEqual([]);
  });

  it('counts every drop but says each reason once in a while', () => {
    const { shell, counters, said } = setup();
    for (let i = 0; i < 50; i++) shell.run([{ do: 'drop', reason: 'tag', from: home }]);
    shell.run([{ do: 'drop', reason: 'replayed' }]);
    expect(counters.snapshot()).toEqual({ 'drop-replayed': 1, 'drop-tag': 50 });
    expect(said.filter((line) => line.startsWith('warn'))).toHaveLength(2);
  });

  it('says what peers can bring about again and again no more than a log can bear', () => {
    const { shell, counters, said } = setup();
    for (let i = 0; i < 1_000; i++) shell.run([{ do: 'log', level: 'info', message: 'device refused' }]);
    shell.run([{ do: 'log', level: 'info', message: 'something else' }]);
    const lines = said.filter((line) => line.startsWith('info: device refused')).length;
    expect(lines).toBeGreaterThanOrEqual(200);
    expect(lines).toBeLessThan(300);
    expect(counters.get('log-lines-left-out')).toBe(1_000 - lines);
    expect(said.at(-1)).toBe('info: something else');
  });

  it('outlives a fault that a datagram uncovers', () => {
    const { shell, counters, said, inputs } = setup();
    shell.input(() => {
      throw new RangeError('oops');
    });
    expect(counters.get('internal-error')).toBe(1);
    expect(said).toEqual(['error: internal error']);
    shell.receive(new Uint8Array(1), home);
    expect(inputs).toHaveLength(1);
  });

  it('brings answers of the register, null when there is none, and says that once', async () => {
    let works = false;
    const register: RegisterAccess = {
      query: async () => (works ? { got: 'services', services: [] } : Promise.reject(new RangeError('locked'))),
      change: async () => 'saved',
    };
    const { shell, inputs, said } = setup(register);
    shell.run(loads);
    shell.run(loads);
    await eventually(() => expect(inputs).toHaveLength(2));
    expect(inputs).toEqual([
      ['loaded', 4, null],
      ['loaded', 4, null],
    ]);
    expect(said).toEqual(['error: the register does not answer']);
    works = true;
    shell.run(loads);
    shell.run([{ do: 'save', ticket: 5, change: { set: 'seen', nodes: [{ nodeId: 'a', at: 1 }] } }]);
    await eventually(() => expect(inputs).toHaveLength(4));
    expect(inputs.slice(2)).toEqual([
      ['loaded', 4, { got: 'services', services: [] }],
      ['saved', 5, 'saved'],
    ]);
    expect(said.at(-1)).toBe('info: the register answers again');
  });
});
