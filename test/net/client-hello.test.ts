import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { connect } from 'node:tls';
import { beforeAll, expect, it } from 'vitest';
import { readHelloName } from '../../src/net/client-hello.ts';
import fc from '../support/property.ts';

/** What OpenSSL says first. */
async function hello(servername: string): Promise<Uint8Array> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername });
  client.on('error', () => {});
  const [socket] = await once(server, 'connection');
  const [octets] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return new Uint8Array(octets);
}

let named: Uint8Array;

beforeAll(async () => {
  named = await hello('AS.lab.example');
});

it('reads the name once the whole ClientHello is there', () => {
  for (let length = 0; length < named.length; length++) expect(readHelloName(named.subarray(0, length))).toBe(null);
  expect(readHelloName(named)).toEqual({ name: 'as.lab.example' });
  const more = new Uint8Array(named.length + 100);
  more.set(named);
  expect(readHelloName(more)).toEqual({ name: 'as.lab.example' });
});

it('finds none where none is given, and in anything else at its first octet', async () => {
  expect(readHelloName(await hello(''))).toEqual({ name: null });
  expect(readHelloName(new TextEncoder().encode('G'))).toEqual({ name: null });
});

it('takes any octets', () => {
  fc.assert(
    fc.property(fc.nat(named.length - 1), fc.uint8Array({ maxLength: 8 }), (at, octets) => {
      const spoilt = Uint8Array.from(named);
      spoilt.set(octets.subarray(0, named.length - at), at);
      const read = readHelloName(spoilt);
      expect(read === null || read.name === null || read.name.length < named.length).toBe(true);
    }),
  );
});
