import { describe, expect, it } from 'vitest';
import { type Endpoint, parsePrefix } from '../../src/lib/ip.ts';
import { outerFilter } from '../../src/pipeline/signalling.ts';
import { StandIns } from '../../src/pipeline/stand-ins.ts';

const pathId = '0123456789abcdef0123456789abcdef';
const at = (address: string, over?: 'tls'): Endpoint => ({ address, port: 7444, ...(over && { over }) });

function behindNat64(): StandIns {
  const standIns = new StandIns(outerFilter(['100.80.0.0/16', '64:ff9b:1::/48'].map((text) => parsePrefix(text)!)));
  standIns.nat64 = parsePrefix('2001:db8:64::/96');
  return standIns;
}

describe('what stands for endpoints behind a NAT64', () => {
  it('is an address of its prefix, on the way out and back', () => {
    const standIns = behindNat64();
    expect(standIns.command({ do: 'setEndpoint', pathId, endpoint: at('192.0.2.1'), relayed: false })).toMatchObject({
      endpoint: at('2001:db8:64::c000:201'),
    });
    expect(standIns.event({ on: 'moved', pathId, from: at('2001:db8:64::c000:201') })).toMatchObject({
      from: at('192.0.2.1'),
    });
    expect(standIns.localOf(at('2001:db8::7'))).toEqual(at('2001:db8::7'));
    standIns.nat64 = null;
    expect(standIns.localOf(at('192.0.2.1'))).toEqual(at('192.0.2.1'));
  });

  it('is the port of a stream before that', () => {
    const standIns = behindNat64();
    const local = { address: '127.0.0.1', port: 5 };
    expect(standIns.localOf(at('192.0.2.1', 'tls'))).toBeNull();
    standIns.set(at('192.0.2.1', 'tls'), local);
    expect(standIns.localOf(at('192.0.2.1', 'tls'))).toEqual(local);
    expect(standIns.mayGoTo(local)).toBe(true);
  });

  it.each(['127.0.0.1', '100.80.0.9', '224.0.0.1', '169.254.0.1', '0.0.0.0'])('leads nobody to %s', (address) => {
    const standIns = behindNat64();
    const stands = standIns.localOf(at(address))!;
    expect(stands.address).toMatch(/^2001:db8:64::/);
    expect(standIns.mayGoTo(stands)).toBe(false);
    // Without a NAT64 that is an address as any other.
    standIns.nat64 = null;
    expect(standIns.mayGoTo(stands)).toBe(true);
  });

  it('may not lead into the overlay, whatever prefix a name server gives', () => {
    const standIns = behindNat64();
    expect(standIns.mayGoTo(standIns.localOf(at('192.0.2.1'))!)).toBe(true);
    standIns.nat64 = parsePrefix('64:ff9b:1::/96');
    expect(standIns.mayGoTo(standIns.localOf(at('192.0.2.1'))!)).toBe(false);
  });
});
