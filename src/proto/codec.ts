/**
 * Datagram ⇄ message. Decoding has two steps with the opening of the tag between them:
 * `readEnvelope` looks at the header and the clear options, `readBody` at the opened body and the sealed options.
 * Both return a drop reason instead of throwing, and strictly: what re-encodes differently was never valid.
 */
import type { DropReason } from './drop.ts';
import type { Body, MessageName } from './messages.ts';
import type { Options } from './options.ts';

export type Header = {
  readonly transactionId: number;
  readonly flags: number;
  readonly sequence: number;
  readonly epoch: number;
  /** NodeID or PathID, 32 hex digits. */
  readonly id: string;
};

/** Header and clear options of a datagram whose tag has not been checked: nothing here is to be believed yet. */
export type Envelope = Header & {
  readonly type: MessageName;
  readonly options: Options;
  /** Type of the first sealed option, 0 = none. */
  readonly nextSealed: number;
  /** Where the body begins: everything before is additional data. */
  readonly bodyStart: number;
};

export type MessageOf<N extends MessageName> = Header & {
  readonly type: N;
  readonly body: Body<N>;
  readonly options: Options;
};

export type Message = { [N in MessageName]: MessageOf<N> }[MessageName];

/** What a sender fills in; header defaults: flags 0, epoch 0. Sequence numbers are given out while laying out. */
export type Draft = {
  [N in MessageName]: {
    readonly type: N;
    readonly id: string;
    readonly transactionId: number;
    readonly flags?: number;
    readonly epoch?: number;
    readonly body: Body<N>;
    readonly options?: Options;
  };
}[MessageName];

/** How a cipher suite changes the size of a body: `lead` octets go before it (an IV), the rest behind. */
export type Sizes = { readonly lead: number; sealedSize(plain: number): number };

/** Sizes of messages without a tag (inside TLS). */
export const plainSizes: Sizes = { lead: 0, sealedSize: (plain) => plain };

/** One datagram ready to be sealed in place: plain body at `bodyStart + lead`, `plainLength` octets, then free room. */
export type Laid = {
  readonly bytes: Uint8Array;
  readonly bodyStart: number;
  readonly plainLength: number;
  readonly sequence: number;
};
