import { describe, expect, it } from 'vitest';
import { connectRequest, proxyFor, readConnectAnswer } from '../../src/net/http-proxy.ts';

const to = { address: '198.51.100.10', port: 443 };
const latin = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));

describe('the proxy on the way', () => {
  it.each([
    [{}, null],
    [{ HTTPS_PROXY: 'http://proxy.example:3128' }, { host: 'proxy.example', port: 3128, authorization: null }],
    [{ https_proxy: 'proxy.example' }, { host: 'proxy.example', port: 80, authorization: null }],
    [{ HTTPS_PROXY: 'http://[2001:db8::8]:8080/' }, { host: '2001:db8::8', port: 8080, authorization: null }],
    [{ HTTPS_PROXY: 'http://u%20:p@10.0.0.1:1' }, { host: '10.0.0.1', port: 1, authorization: 'Basic dSA6cA==' }],
    [{ HTTPS_PROXY: 'socks5://proxy.example:1080' }, null],
    [{ HTTPS_PROXY: 'http://' }, null],
    [{ HTTPS_PROXY: 'http://u%zz:p@proxy.example' }, null],
    [{ HTTPS_PROXY: 'http://u:%ff@proxy.example' }, null],
    [{ HTTPS_PROXY: 'proxy.example', NO_PROXY: 'a.example, 198.51.100.10' }, null],
    [{ HTTPS_PROXY: 'proxy.example', no_proxy: '198.51.100.0/24' }, null],
    [{ HTTPS_PROXY: 'proxy.example', NO_PROXY: '*' }, null],
    [
      { HTTPS_PROXY: 'proxy.example', NO_PROXY: '198.51.100.1,192.0.2.0/24,example' },
      { host: 'proxy.example', port: 80, authorization: null },
    ],
  ])('is what the environment says: %o', (environment, proxy) => {
    expect(proxyFor(environment, to)).toEqual(proxy);
  });

  it('is asked for a tunnel', () => {
    const proxy = { host: 'p', port: 1, authorization: 'Basic eA==' };
    expect(connectRequest({ address: '2001:db8::1', port: 443 }, proxy)).toBe(
      'CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nProxy-Authorization: Basic eA==\r\n\r\n',
    );
  });

  it('answers', () => {
    expect(readConnectAnswer(latin('HTTP/1.1 200 OK\r\nA: b\r\n'))).toBe(null);
    expect(readConnectAnswer(latin('HTTP/1.1 200 OK\r\n\r\nrest'))).toEqual({ status: 200, rest: latin('rest') });
    expect(readConnectAnswer(latin('HTTP/1.0 407\r\n\r\n'))).toMatchObject({ status: 407 });
    expect(readConnectAnswer(latin('SSH-2.0\r\n\r\n'))).toMatchObject({ status: 0 });
    expect(readConnectAnswer(new Uint8Array(9_000).fill(65))).toMatchObject({ status: 0 });
  });
});
