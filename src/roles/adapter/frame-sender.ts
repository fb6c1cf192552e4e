/** Sends the control plane's own frames, from the main thread. */

import { portOf } from '../../pipeline/pcap-port.ts';
import type { FrameHandle, FramePort } from '../../sys/frame-port.ts';
import { allocate } from '../../sys/memory.ts';
import { VIRTIO_HEADER } from '../../sys/tun.ts';
import { IOVEC, setVector } from '../../sys/vectors.ts';

const LONGEST = 9_216;

export class FrameSender {
  readonly #port: FramePort;
  readonly #memory = allocate(IOVEC + VIRTIO_HEADER + LONGEST);

  constructor({ sources, mtu }: FrameHandle) {
    this.#port = portOf(sources.slice(0, 1), mtu);
  }

  /** Whether the link took it. */
  send(frame: Uint8Array): boolean {
    const { bytes, address } = this.#memory;
    if (frame.length > LONGEST) return false;
    bytes.set(frame, IOVEC + VIRTIO_HEADER);
    setVector(this.#memory, 0, address + IOVEC, VIRTIO_HEADER + frame.length);
    return this.#port.write(address, 1) === 0;
  }
}
