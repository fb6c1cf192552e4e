import { expect, it } from 'vitest';
import { linkDropReasons } from '../../src/net/link-drop.ts';
import { fuzzLink } from './link-fuzz.ts';

/** What two devices don't come to by chance, with 802.1X at its own pace; tested where it is decided. */
const elsewhere: readonly string[] = [
  'frame-tag',
  'packet-address',
  'dhcp4-unknown-device',
  'dhcp6-address',
  'dhcp6-unknown-device',
  'eapol-unknown-device',
  'eapol-too-often',
  'eapol-overloaded',
];

it('random and spoiled frames are taken or dropped for a reason, and nothing is thrown', () => {
  const tally = fuzzLink(40_000, 1);
  const reached = linkDropReasons.filter((reason) => !elsewhere.includes(reason));
  for (const outcome of ['taken', 'dns-query', ...reached]) expect(tally.get(outcome), outcome).toBeGreaterThan(0);
});
