/** Where an NMS keeps what its replicas share, for whoever else reads it. */

/** What the names of its records and sets begin with. */
export function nmsRecords(nodeId: string): string {
  return `nms ${nodeId} `;
}
