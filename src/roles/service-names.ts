/** The names in the certificates of the cloud's TLS servers, all under one root: the one is not believed to be another. */
export function serviceNames(domain: string): Readonly<Record<'as' | 'controller' | 'trs', string>> {
  return { as: `as.${domain}`, controller: `controller.${domain}`, trs: `trs.${domain}` };
}
