/** A device with 802.1X, its cable, the register and the AS in any order: never in without a yes, in the end always in. */

import { it } from 'vitest';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType } from '../../../src/net/ethernet.ts';
import { camera, cameraMac, gateway4 } from '../../net/support/link.ts';
import fc from '../../support/property.ts';
import { AdapterBench, general } from './bench.ts';

const payload = encodeArp({
  operation: 'request',
  senderMac: cameraMac,
  senderAddress: camera.vip4,
  targetMac: '00:00:00:00:00:00',
  targetAddress: gateway4,
});

class World {
  readonly bench: AdapterBench;
  /** Whether the latest word about the device was a yes of the AS. */
  #welcome = false;
  #decided = 0;

  constructor(auth: 'password' | 'certificate') {
    this.bench = new AdapterBench(auth);
  }

  check(): void {
    if (this.bench.machine.hosts.length > 0 && !this.#welcome) throw new Error('the device is in, and nobody said yes');
  }

  speak(): void {
    this.bench.frame({ etherType: EtherType.arp, payload });
  }

  decide(result: 'accepted' | 'refused' | 'unreachable'): void {
    if (this.bench.logins.length === this.#decided) return;
    this.#decided = this.bench.logins.length;
    if (result === 'accepted') this.#welcome = true;
    const before = this.bench.count('dot1x-failed-refused');
    this.bench.decide(result);
    // What comes too late has no meaning.
    if (this.bench.count('dot1x-failed-refused') > before) this.#welcome = false;
  }

  /** Whatever `happen` is, the device is out after it. */
  out(happen: () => void): void {
    happen();
    this.#welcome = false;
  }
}

type Event = (world: World) => void;
const words = { start: encodeEapol('start'), logoff: encodeEapol('logoff') };
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.constant<Event>((world) => world.speak()),
  fc.constant<Event>(({ bench }) => bench.eapol(words.start)),
  fc.constant<Event>(({ bench }) => bench.answer()),
  fc
    .constantFrom('accepted' as const, 'refused' as const, 'unreachable' as const)
    .map<Event>((result) => (world) => world.decide(result)),
  fc.constantFrom(10, 2_000, 6_000, 70_000, 3_700_000).map<Event>(
    (ms) =>
      ({ bench }) =>
        bench.pass(ms),
  ),
  fc.constant<Event>((world) => world.out(() => world.bench.eapol(words.logoff))),
  fc.constant<Event>(({ bench }) => bench.take(bench.machine.renew('cam1', bench.now))),
  fc.constant<Event>((world) => world.out(() => world.bench.take(world.bench.machine.unplugged(world.bench.now)))),
  fc.constant<Event>((world) =>
    world.out(() => world.bench.take(world.bench.machine.revoked('cam1', world.bench.now))),
  ),
  fc.boolean().map<Event>(
    (gone) => (world) =>
      world.out(() => {
        const { machine, now } = world.bench;
        const state = gone ? 'enrolled' : 'disabled';
        const listed = gone ? [] : [general('cam1', cameraMac, 'password', camera, state)];
        world.bench.take(machine.register(listed, () => true, now));
      }),
  ),
);

it.each(['password', 'certificate'] as const)('by %s', (auth) => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40, size: 'max' }), (events) => {
      const world = new World(auth);
      const { bench } = world;
      for (const happen of events) {
        happen(world);
        world.check();
      }
      // From now on it is registered and there, answers what it is asked, and the AS says yes.
      bench.take(bench.machine.register([general('cam1', cameraMac, auth, camera)], () => true, bench.now));
      for (let round = 0; round < 12; round++) {
        world.speak();
        bench.answer();
        world.decide('accepted');
        bench.answer();
        world.check();
        bench.pass(20_000);
      }
      if (bench.machine.hosts.length !== 1) throw new Error(`the device is ${bench.stateOf(cameraMac)}`);
    }),
    { numRuns: 300 },
  );
});
