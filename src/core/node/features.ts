/** What both ends of a path can do beyond the thesis's capsules, offered and answered in the handshake. */

import { Suite } from '../../proto/constants.ts';
import { Feature, type Options } from '../../proto/options.ts';

const FEATURES = Feature.partialChecksum | Feature.ecn | Feature.parts;

/** Nothing in the thesis's own suite. */
export function offeredFeatures(suite: Suite): Options {
  return suite === Suite.cbcMd5 ? {} : { features: { mask: FEATURES } };
}

/** What the peer offers as well. */
export function agreedFeatures(suite: Suite, peers: Options) {
  const agreed = (offeredFeatures(suite).features?.mask ?? 0) & (peers.features?.mask ?? 0);
  return {
    partialChecksum: (agreed & Feature.partialChecksum) !== 0,
    ecn: (agreed & Feature.ecn) !== 0,
    parts: (agreed & Feature.parts) !== 0,
  };
}
