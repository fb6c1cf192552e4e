import { expect, it } from 'vitest';
import type { Lab } from './toolkit/lab.ts';
import { natBehaviours, natTypes } from './toolkit/nat.ts';
import { classify } from './toolkit/nat-classifier.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { UdpAgent } from './toolkit/udp.ts';

function twoPublicHosts(lab: Lab) {
  const internet = lab.internet();
  const near = lab.host('near', internet, { v4: '198.51.100.10', v6: '2001:db8:10::1' });
  const far = lab.host('far', internet, { v4: '203.0.113.10', v6: '2001:db8:11::1' });
  return { internet, near, far };
}

describeLab('the laboratory', () => {
  for (const nat of natTypes) {
    it(`has a ${nat} NAT that behaves so`, () =>
      inLab(nat, async (lab) => {
        const { internet, near, far } = twoPublicHosts(lab);
        const home = lab.lan('home', { subnet4: '10.20.0.0/24' });
        lab.router('router', { outside: internet, inside: home, nat, v4: '198.51.100.20' });
        const host = lab.host('host', home);
        expect(await classify(host, near, far)).toEqual(natBehaviours[nat]);
      }));
  }

  it('has two levels of NAT, of which the stricter shows', () =>
    inLab('two-levels', async (lab) => {
      const { internet, near, far } = twoPublicHosts(lab);
      const provider = lab.lan('provider', { subnet4: '100.64.7.0/24' });
      lab.router('carrier', { outside: internet, inside: provider, nat: 'symmetric', v4: '203.0.113.7' });
      const home = lab.lan('home', { subnet4: '192.168.1.0/24' });
      lab.router('router', { outside: provider, inside: home, nat: 'full-cone' });
      const host = lab.host('host', home);
      expect(await classify(host, near, far)).toEqual(natBehaviours.symmetric);
    }));

  it('drops what nobody asked for, also at the router itself, and refuses nothing aloud', () =>
    inLab('unasked', async (lab) => {
      const { internet, near, far } = twoPublicHosts(lab);
      const home = lab.lan('home', { subnet4: '10.20.0.0/24', subnet6: '2001:db8:20::/64' });
      lab.router('router', {
        outside: internet,
        inside: home,
        nat: 'port-restricted',
        v4: '198.51.100.20',
        v6: '2001:db8:10::20',
      });
      const host = lab.host('host', home);
      const [inside, asked, unasked] = await Promise.all([
        UdpAgent.start(host, 7444),
        UdpAgent.start(near, 1001),
        UdpAgent.start(far, 1002),
      ]);
      // The punch of a peer that comes before our own must not cost us the mapping.
      unasked.send({ address: '198.51.100.20', port: 7444 }, 'early');
      await unasked.reach(asked, 'after the early one');
      const first = await inside.reach(asked, 'first');
      const second = await inside.reach(unasked, 'second');
      expect(second.port).toBe(first.port);
      await unasked.reach(inside, 'now asked for', { address: second.from, port: second.port });
      expect(inside.got('early')).toBeUndefined();
      // IPv6 is not translated, but filtered all the same.
      await expect(far.run(['ping', '-c', '1', '-W', '1', String(host.addresses.v6)])).rejects.toThrow(
        '100% packet loss',
      );
      await host.run(['ping', '-c', '1', String(far.addresses.v6)]);
    }));

  it('routes between public hosts of both families and keeps the families apart', () =>
    inLab('families', async (lab) => {
      const { internet, near, far } = twoPublicHosts(lab);
      const only4 = lab.host('only4', internet, { v4: '192.0.2.40' });
      const only6 = lab.host('only6', internet, { v6: '2001:db8:60::1' });
      await near.run(['ping', '-c', '1', '203.0.113.10']);
      await near.run(['ping', '-c', '1', '2001:db8:11::1']);
      await only4.run(['ping', '-c', '1', '203.0.113.10']);
      await only6.run(['ping', '-c', '1', String(far.addresses.v6)]);
      await expect(only4.run(['ping', '-c', '1', '-W', '1', '2001:db8:11::1'])).rejects.toThrow();
      await expect(only6.run(['ping', '-c', '1', '-W', '1', '203.0.113.10'])).rejects.toThrow();
    }));
});
