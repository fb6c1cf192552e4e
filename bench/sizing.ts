/**
 * `npm run sizing -- [--devices 10000,1000000] [--keep-alive 35] …`: what a network of so many devices needs, from what each
 * thing was measured to cost (microseconds of one core, but for relaying: seconds for each gigabit) and how often devices
 * do it. The defaults are the figures and assumptions of docs/scaling.md.
 */

import { parseArgs } from 'node:util';
import { KEEP_ALIVE_MS } from '../src/proto/constants.ts';

const { values: flags } = parseArgs({
  options: {
    devices: { type: 'string', default: '10000,100000,1000000,10000000' },
    // What `npm run bench:cloud` measures.
    'keep-alive': { type: 'string', default: '35' },
    registration: { type: 'string', default: '65' },
    direction: { type: 'string', default: '280' },
    login: { type: 'string', default: '3400' },
    relaying: { type: 'string', default: '0.2' },
    // `npm run bench:nms`: KiB of each node, and of each path it is known to have.
    'node-memory': { type: 'string', default: '13' },
    'path-memory': { type: 'string', default: '1.7' },
    // `npm run bench:stores`.
    record: { type: 'string', default: '3' },
    seen: { type: 'string', default: '10' },
    'login-register': { type: 'string', default: '2300' },
    // Of each device: seconds between directions, registrations and logins a day, and bits a second through a TRS.
    'directed-every': { type: 'string', default: '600' },
    registrations: { type: 'string', default: '4' },
    logins: { type: 'string', default: '1' },
    relayed: { type: 'string', default: '1000' },
  },
});
const of = (name: keyof typeof flags): number => Number(flags[name]);

const DAY_S = 86_400;
/** Both are renewed so often, see src/core/nms/presence.ts. */
const RENEWED_S = 45;
const RECORDS = 2;
/** Where the Responder is, and two additions of two commands. */
const RECORDS_OF_DIRECTION = 5;
/** An NMS remembers no more. */
const MAX_PATHS = 200_000;

function figure(value: number): string {
  return value >= 10 ? Math.round(value).toLocaleString('en') : value.toPrecision(2).replace(/\.0$/, '');
}

/** One row: rates in 1/s, and cores. */
function row(devices: number): string {
  const keepAlives = (devices * 1_000) / KEEP_ALIVE_MS;
  const registrations = (devices * of('registrations')) / DAY_S;
  const directions = devices / of('directed-every');
  const logins = (devices * of('logins')) / DAY_S;
  const records = (devices * RECORDS) / RENEWED_S + directions * RECORDS_OF_DIRECTION;
  const seen = devices / RENEWED_S;
  const cores = (...work: (readonly [perSecond: number, micros: number])[]): number =>
    work.reduce((sum, [perSecond, micros]) => sum + perSecond * micros, 0) / 1e6;
  const nms = cores([keepAlives, of('keep-alive')], [registrations, of('registration')], [directions, of('direction')]);
  const memory =
    (devices * of('node-memory') + Math.min(devices, MAX_PATHS * Math.ceil(nms)) * of('path-memory')) / 2 ** 20;
  const relayed = (devices * of('relayed')) / 1e9;
  const cells = [
    devices.toLocaleString('en'),
    figure(keepAlives),
    figure(directions),
    figure(nms),
    `${figure(memory)} GiB`,
    `${figure(records)} (${figure(cores([records, of('record')]))})`,
    `${figure(seen)} (${figure(cores([seen, of('seen')]))})`,
    `${figure(logins)} (${figure(cores([logins, of('login')]))}; ${figure(cores([logins, of('login-register')]))})`,
    `${figure(relayed)} (${figure(relayed * of('relaying'))})`,
  ];
  return `| ${cells.join(' | ')} |`;
}

console.log(
  '| devices | keep-alives, 1/s | directions, 1/s | NMS, cores | NMS, memory | Redis, commands/s (cores) | PostgreSQL, rows seen/s (cores) | logins, 1/s (AS, cores; PostgreSQL, cores) | relayed, Gbit/s (TRS, cores) |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const devices of flags.devices.split(',')) console.log(row(Number(devices)));
