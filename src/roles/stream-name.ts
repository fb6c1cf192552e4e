/** The name in the certificate of a TRS that takes datagrams over TLS: other certificates of the same root are no TRS's. */
export function streamServerName(domain: string): string {
  return `trs.${domain}`;
}
