/** A link, a register and an AS that do what they like in any order: who is active, and who is in the end. */

import { expect, it } from 'vitest';
import { AdapterMachine } from '../../../src/core/adapter/machine.ts';
import type { AdapterAction, LoginResult, RegisteredDevice } from '../../../src/core/adapter/types.ts';
import { formatMac } from '../../../src/lib/mac.ts';
import { encodeArp } from '../../../src/net/arp.ts';
import { EtherType, encodeFrame } from '../../../src/net/ethernet.ts';
import fc from '../../support/property.ts';

/** Few, so that much happens to each. */
const DEVICES = 2;
const macOf = (i: number): string => formatMac(Uint8Array.of(2, 0, 0, 0, 0, i));
const numbers = Array.from({ length: DEVICES }, (_, i) => i);

/** The register, the AS and the devices around one machine, and who may be active by what they did. */
class World {
  readonly register = new Map<number, RegisteredDevice>();
  /** Devices whose last word from the AS was yes. */
  readonly allowed = new Set<string>();
  #logins: { readonly deviceId: string; readonly attempt: number; readonly asked: RegisteredDevice }[] = [];
  #ms = 0;
  #wake = Number.POSITIVE_INFINITY;
  readonly machine = new AdapterMachine({
    mac: '02:ff:00:00:00:01',
    linkLocal: 'fe80::1',
    gateway4: '100.80.0.1',
    gateway6: 'fd00::1',
    range4: { address: '100.80.0.0', length: 16 },
    range6: { address: 'fd00::', length: 64 },
    domain: 'lab.example',
    mtu: 1400,
    internet: false,
    random: () => 0.5,
    makeEngine: () => expect.fail('nobody answers EAP here'),
  });

  get now() {
    return { ms: this.#ms, wall: this.#ms };
  }

  take(actions: readonly AdapterAction[]): void {
    for (const action of actions) {
      if (action.do === 'login') {
        const asked = [...this.register.values()].find(({ deviceId }) => deviceId === action.deviceId)!;
        this.#logins.push({ ...action, asked });
      } else if (action.do === 'wake') this.#wake = action.at;
    }
    for (const { mac } of this.machine.hosts) {
      const device = [...this.register.values()].find((entry) => entry.mac === mac);
      expect(device, `${mac} is active and not registered`).toBeDefined();
      expect(this.allowed, `${mac} is active without a login`).toContain(device!.deviceId);
    }
  }

  list(): void {
    this.take(this.machine.register([...this.register.values()], () => false, this.now));
  }

  put(i: number, change: Partial<RegisteredDevice>): void {
    const deviceId = `device${i}`;
    const device: RegisteredDevice = {
      deviceId,
      nodeId: String(i).padStart(32, '0'),
      fqdn: `${deviceId}.lab.example`,
      vip4: `100.80.1.${i}`,
      vip6: `fd00::1:${i}`,
      mac: macOf(i),
      auth: 'mac',
      mode: 'dual',
      state: 'enrolled',
      ...change,
    };
    // What has not changed is no news.
    if (JSON.stringify(this.register.get(i)) === JSON.stringify(device)) return;
    this.register.set(i, device);
    this.allowed.delete(deviceId);
    this.list();
  }

  drop(i: number): void {
    this.register.delete(i);
    this.allowed.delete(`device${i}`);
    this.list();
  }

  speak(i: number): void {
    const source = macOf(i);
    const payload = encodeArp({
      operation: 'request',
      senderMac: source,
      senderAddress: `100.80.1.${i}`,
      targetMac: '00:00:00:00:00:00',
      targetAddress: '100.80.0.1',
    });
    const destination = 'ff:ff:ff:ff:ff:ff';
    this.take(
      this.machine.frame(encodeFrame({ destination, source, tag: null, etherType: EtherType.arp, payload }), this.now),
    );
  }

  /** The AS answers the oldest or the latest login. */
  answer(result: LoginResult, latest: boolean): void {
    const login = latest ? this.#logins.pop() : this.#logins.shift();
    if (login === undefined) return;
    const { deviceId, attempt, asked } = login;
    const isCurrent = [...this.register.values()].includes(asked);
    const isLatest = !this.#logins.some((other) => other.deviceId === deviceId && other.attempt > attempt);
    if (result === 'accepted' && isCurrent && isLatest) this.allowed.add(deviceId);
    if (result === 'refused' && isCurrent && isLatest) this.allowed.delete(deviceId);
    this.take(this.machine.loggedIn(deviceId, attempt, result, this.now));
  }

  revoke(i: number): void {
    this.allowed.delete(`device${i}`);
    this.take(this.machine.revoked(`device${i}`, this.now));
  }

  pass(ms: number): void {
    const until = this.#ms + ms;
    for (let steps = 0; this.#wake <= until && steps < 5_000; steps++) {
      this.#ms = Math.max(this.#ms, this.#wake);
      this.take(this.machine.tick(this.now));
    }
    this.#ms = until;
  }
}

const say = (i: number) => (world: World) => world.speak(i);
const put = (i: number, change: Partial<RegisteredDevice>) => (world: World) => world.put(i, change);
const revoke = (i: number) => (world: World) => world.revoke(i);
const answer = (result: LoginResult) => (world: World) => world.answer(result, true);
const pass = (ms: number) => (world: World) => world.pass(ms);

const device = fc.constantFrom(...numbers);
const event = fc.oneof(
  device.map(say),
  device.map((i) => put(i, {})),
  device.map((i) => put(i, { state: 'disabled' })),
  device.map((i) => put(i, { auth: 'password' })),
  device.map((i) => put(i, { mac: macOf(((i + 1) % DEVICES) + 100) })),
  device.map((i) => (world: World) => world.drop(i)),
  device.map(revoke),
  fc.tuple(fc.constantFrom<LoginResult>('accepted', 'accepted', 'refused', 'unreachable'), fc.boolean()).map(
    ([result, latest]) =>
      (world: World) =>
        world.answer(result, latest),
  ),
  fc.constantFrom(10, 1_000, 70_000, 2_000_000).map(pass),
  fc.constant((world: World) => world.take(world.machine.unplugged(world.now))),
);

it('a general node is active only by a login, and always in the end if it should be', () => {
  fc.assert(
    fc.property(fc.array(event, { minLength: 1, maxLength: 60, size: 'max' }), (events) => {
      const world = new World();
      world.list();
      for (const happen of events) happen(world);
      // From now on everybody is there and the AS says yes.
      for (let round = 0; round < 5; round++) {
        for (const i of numbers) world.speak(i);
        for (let i = 0; i < 4 * DEVICES; i++) world.answer('accepted', false);
        world.pass(70_000);
      }
      for (const i of numbers) world.speak(i);
      for (let i = 0; i < 4 * DEVICES; i++) world.answer('accepted', false);
      const due = [...world.register.values()].filter(
        ({ state, auth, mac }) => state === 'enrolled' && auth === 'mac' && numbers.some((i) => macOf(i) === mac),
      );
      expect(new Set(world.machine.hosts.map(({ mac }) => mac))).toEqual(new Set(due.map(({ mac }) => mac)));
    }),
    {
      numRuns: 300,
      examples: [
        // One that was refused while it was away is asked again when it is back, however often it had been in.
        [[put(0, {}), say(0), answer('accepted'), pass(2_000_000), revoke(0), pass(70_000), say(0)]],
        // A device that was refused is asked again after a while, but not under a MAC address that never spoke.
        [[say(0), put(0, { state: 'disabled' }), put(0, { mac: macOf(101) }), revoke(0), pass(70_000)]],
      ],
    },
  );
});
