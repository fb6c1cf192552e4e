/**
 * Every figure of protocol section 3 and 3.1, written out by hand from the field lists, not by the encoder. `#` begins a
 * comment. Datagrams end in 16 zero octets: the room for the tag, which the suite fills.
 */

import type { Draft, Message } from '../../src/proto/codec.ts';
import type { MessageName } from '../../src/proto/messages.ts';
import type { OptionName, Options } from '../../src/proto/options.ts';

export function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replace(/#.*$/gm, '').replace(/\s/g, ''));
}

const id = '000102030405060708090a0b0c0d0e0f';
const other = 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff';
const key1 = '11'.repeat(32);
const key2 = '22'.repeat(32);
const from = { id, transactionId: 0x01020304 };

type Figure = { readonly draft: Draft; readonly sequence: number; readonly bytes: string };

export const figures: { readonly [N in MessageName]: Figure } = {
  ack: {
    draft: { ...from, type: 'ack', flags: 4, epoch: 9, body: {} },
    sequence: 0x0a0b0c0d,
    bytes: `
      01020304 # Transaction ID
      01 04 01 00 # Version, Flag response, Type, Count
      0a0b0c0d # Sequence Number
      0030 00 09 # Message Length 48, Next Opt, epoch
      ${id} # ID
      00000000000000000000000000000000`,
  },
  loginRequest: {
    draft: {
      type: 'loginRequest',
      transactionId: 1,
      id: '00000000000000000000000000000000',
      flags: 2,
      body: {
        applicationId: other,
        authType: 3,
        execMode: 2,
        deviceId: 'cam1',
        password: Uint8Array.of(1, 2, 3, 4, 5, 6),
        certificate: Uint8Array.of(0xaa, 0xbb, 0xcc),
      },
    },
    sequence: 0,
    bytes: `
      00000001 01020200 00000000 0045 00 00 # Message Length 69
      00000000000000000000000000000000
      ${other} # Application ID
      03 02 # Auth Type MAC, Exec Mode IPv6
      0004 0006 0003 # lengths of DeviceID, Password, Certificate
      63616d31 # "cam1"
      010203040506
      aabbcc`,
  },
  loginResponse: {
    draft: {
      type: 'loginResponse',
      ...from,
      flags: 4,
      body: {
        cipherType: 2,
        expires: '2031-12-24',
        virtual4: '100.80.0.2',
        virtual6: 'fd00::1:2',
        nms4: '198.51.100.10',
        nms6: null,
        commonKey: Uint8Array.fromHex(key1),
        fqdn: 'a.lab.example',
      },
    },
    sequence: 0,
    bytes: `
      01020304 01040300 00000000 0081 00 00 # Message Length 129
      ${id}
      0002 0020 # Cipher Type, Common Key Length
      07ef 0c 18 # 2031, 12, 24
      000d 0000 # FQDN Length, Padding
      64500002 # 100.80.0.2
      fd000000000000000000000000010002
      c633640a # 198.51.100.10
      00000000000000000000000000000000 # absent
      ${key1}
      612e6c61622e6578616d706c65`,
  },
  registrationRequest: {
    draft: {
      type: 'registrationRequest',
      ...from,
      flags: 2,
      body: { port: 7444, notificationType: 0, node4: '10.20.0.2', node6: '2001:db8::2' },
    },
    sequence: 1,
    bytes: `
      01020304 01020400 00000001 0048 00 00 # Message Length 72
      ${id}
      1d14 0000 # Application Port, Notification Type
      0a140002
      20010db8000000000000000000000002
      00000000000000000000000000000000`,
  },
  registrationResponse: {
    draft: { type: 'registrationResponse', ...from, flags: 4, body: { natFlag: 1 } },
    sequence: 2,
    bytes: `
      01020304 01040500 00000002 0034 00 00 # Message Length 52
      ${id}
      01 000000 # NAT Flag, Padding
      00000000000000000000000000000000`,
  },
  keepAlive: {
    draft: { type: 'keepAlive', ...from, flags: 8, body: {} },
    sequence: 3,
    bytes: `
      01020304 01080600 00000003 0030 00 00
      ${id}
      00000000000000000000000000000000`,
  },
  directionRequest: {
    draft: {
      type: 'directionRequest',
      ...from,
      body: { applicationId: other, pathId: id, fqdn: 'b.lab.example', certificate: Uint8Array.of(0xde, 0xad) },
    },
    sequence: 4,
    bytes: `
      01020304 01000700 00000004 0063 00 00 # Message Length 99
      ${id}
      ${other} # Application ID
      ${id} # PathID
      000d 0002 # FQDN Length, Certificate Length
      622e6c61622e6578616d706c65
      dead
      00000000000000000000000000000000`,
  },
  routeDirection: {
    draft: {
      type: 'routeDirection',
      ...from,
      body: {
        pathId: other,
        processCode: 3,
        execMode: 1,
        generalNode: 0x8001,
        natInitiatorPort: 1000,
        natResponderPort: 2000,
        natInitiator4: '198.51.100.20',
        natInitiator6: null,
        natResponder4: '198.51.100.21',
        natResponder6: '2001:db8::21',
        realInitiator4: '10.20.0.2',
        realInitiator6: null,
        realResponder4: '10.30.0.2',
        realResponder6: null,
        virtualInitiator4: '100.80.0.2',
        virtualInitiator6: 'fd00::2',
        virtualResponder4: '100.80.0.3',
        virtualResponder6: 'fd00::3',
        trs4: null,
        trs6: '2001:db8:ff::10',
        cipherType: 2,
        expires: '2026-02-01',
        tunnelKey: Uint8Array.fromHex(key1),
        temporaryKey: Uint8Array.fromHex(key2),
        initiatorFqdn: 'a.lab.example',
        responderFqdn: 'b.lab.example',
      },
    },
    sequence: 5,
    bytes: `
      01020304 01000800 00000005 013e 00 00 # Message Length 318
      ${id}
      ${other} # PathID
      03 01 8001 # Process Code, Exec Mode, General Node Flag
      03e8 07d0 # NAT ports of initiator and responder
      c6336414 00000000000000000000000000000000 # NAT initiator
      c6336415 20010db8000000000000000000000021 # NAT responder
      0a140002 00000000000000000000000000000000 # Initiator Real
      0a1e0002 00000000000000000000000000000000 # Responder Real
      64500002 fd000000000000000000000000000002 # Initiator Virtual
      64500003 fd000000000000000000000000000003 # Responder Virtual
      00000000 20010db800ff00000000000000000010 # TRS
      0002 0020 0020 0000 # Tunnel Key Cipher Type and Length, Temporary Key Length, Padding
      07ea 02 01 # 2026, 2, 1
      000d 000d # lengths of both FQDNs
      ${key1} ${key2}
      612e6c61622e6578616d706c65 622e6c61622e6578616d706c65
      00000000000000000000000000000000`,
  },
  routeDirectionConfirmation: {
    draft: { type: 'routeDirectionConfirmation', ...from, flags: 5, body: {} },
    sequence: 6,
    bytes: `
      01020304 01050900 00000006 0030 00 00
      ${id}
      00000000000000000000000000000000`,
  },
  relayRequest: {
    draft: {
      type: 'relayRequest',
      ...from,
      body: { pathId: other, cipherType: 3, tunnelKey: Uint8Array.fromHex(key2) },
    },
    sequence: 7,
    bytes: `
      01020304 01000a00 00000007 0064 00 00 # Message Length 100
      ${id}
      ${other}
      0003 0020
      ${key2}
      00000000000000000000000000000000`,
  },
  relayResponse: {
    draft: {
      type: 'relayResponse',
      ...from,
      flags: 4,
      body: { pathId: other, cipherType: 3, tunnelKey: new Uint8Array(0) },
    },
    sequence: 8,
    bytes: `
      01020304 01040b00 00000008 0044 00 00 # Message Length 68
      ${id}
      ${other}
      0003 0000
      00000000000000000000000000000000`,
  },
  holePunching: {
    draft: { type: 'holePunching', ...from, body: {} },
    sequence: 9,
    bytes: `
      01020304 01000c00 00000009 0030 00 00
      ${id}
      00000000000000000000000000000000`,
  },
  tunnelRequest: {
    draft: { type: 'tunnelRequest', ...from, epoch: 1, body: { endKey: Uint8Array.of(0xca, 0xfe, 0xba, 0xbe) } },
    sequence: 10,
    bytes: `
      01020304 01000d00 0000000a 0038 00 01 # Message Length 56, epoch 1
      ${id}
      0004 0000 # End Key Length, Padding
      cafebabe
      00000000000000000000000000000000`,
  },
  tunnelResponse: {
    draft: { type: 'tunnelResponse', ...from, flags: 4, epoch: 255, body: { endKey: Uint8Array.of(0xbe, 0xef) } },
    sequence: 11,
    bytes: `
      01020304 01040e00 0000000b 0036 00 ff # Message Length 54, epoch 255
      ${id}
      0002 0000
      beef
      00000000000000000000000000000000`,
  },
  capsule: {
    draft: {
      type: 'capsule',
      ...from,
      flags: 8,
      epoch: 2,
      body: { flags: 1, payload: Uint8Array.fromHex('4500001400000000400164f76450000264500003') },
    },
    sequence: 0xfffffffe,
    bytes: `
      01020304 01080f00 fffffffe 0048 00 02 # Message Length 72, epoch 2
      ${id}
      0014 0001 # Payload Length, capsule flags
      4500001400000000400164f7 64500002 64500003 # an IPv4 header
      00000000000000000000000000000000`,
  },
  notice: {
    draft: { type: 'notice', ...from, body: { reason: 3, subject: other } },
    sequence: 12,
    bytes: `
      01020304 01001000 0000000c 0042 00 00 # Message Length 66
      ${id}
      0003 # reason
      ${other} # subject
      00000000000000000000000000000000`,
  },
  sizeProbe: {
    draft: { type: 'sizeProbe', ...from, body: { padding: new Uint8Array(6) } },
    sequence: 13,
    bytes: `
      01020304 01001100 0000000d 0038 00 00 # Message Length 56
      ${id}
      0006 # Padding Length
      000000000000 # padding
      00000000000000000000000000000000`,
  },
};

const four = '00000000000000000000ffff'; // the IPv4-mapped prefix

/** Each option as its own octets after {Next Opt 0, Length in units of 8}. */
export const optionFigures: { readonly [N in Exclude<OptionName, 'part'>]: readonly [Required<Options>[N], string] } = {
  instance: [{ kind: 4, instance: id }, `00 03 04 ${id} 0000000000`],
  challenge: [{ value: other }, `00 03 ${other} 000000000000`],
  echo: [{ value: id }, `00 03 ${id} 000000000000`],
  candidates: [
    {
      list: [
        { kind: 'host', address: '10.0.0.1', port: 7444 },
        { kind: 'forwarded', address: '2001:db8::1', port: 443 },
      ],
    },
    `00 06 02
     00 1d14 ${four}0a000001
     02 01bb 20010db8000000000000000000000001
     000000 00000000`,
  ],
  certificate: [{ certificate: Uint8Array.of(1, 2, 3, 4, 5) }, '00 02 0005 0102030405 00000000000000'],
  relayPorts: [{ port: 7442, nodeId: id }, `00 03 1d12 ${id} 00000000`],
  realPorts: [{ initiator: 1, responder: 65535 }, '00 01 0001 ffff 0000'],
  virtualAddress: [{ address: '100.80.0.3' }, `00 03 ${four}64500003 000000000000`],
  mapped: [{ endpoint: { address: '192.0.2.1', port: 258 } }, `00 03 0102 ${four}c0000201 00000000`],
  refusal: [{ reason: 13 }, '00 01 000d 00000000'],
  identity: [
    {
      signKey: Uint8Array.fromHex(key1),
      handshakeKey: Uint8Array.fromHex(key2),
      signature: Uint8Array.fromHex(key2 + key1),
    },
    `00 11 ${key1} ${key2} ${key2} ${key1} 000000000000`,
  ],
  network: [
    { prefix4: '100.80.0.0', length4: 16, prefix6: null, length6: 0, domain: 'lab.example' },
    `00 07 ${four}64500000 10 00000000000000000000000000000000 00 000b 6c61622e6578616d706c65 00000000000000`,
  ],
  nmsPort: [{ port: 7441 }, '00 01 1d11 00000000'],
  suites: [{ mask: 0x000c }, '00 01 000c 00000000'],
  relayEnds: [{ initiator: id, responder: other }, `00 05 ${id} ${other} 000000000000`],
  pathEnds: [{ initiator: other, responder: id }, `00 05 ${other} ${id} 000000000000`],
  features: [{ mask: 1 }, '00 01 0001 00000000'],
  mirrors: [
    { list: [{ role: 'trs', address: '192.0.2.1', port: 7442, key: Uint8Array.fromHex(key1), name: 'trs' }] },
    `00 08 01 01 1d12 ${four}c0000201 ${key1} 03 747273 000000000000`,
  ],
  streams: [{ list: [{ address: '192.0.2.1', port: 443 }] }, `00 03 01 01bb ${four}c0000201 000000`],
  streamPort: [{ port: 443 }, '00 01 01bb 00000000'],
  portPrediction: [{ role: 1 }, '00 01 01 0000000000'],
  avoid: [{ relay: other }, `00 03 ${other} 000000000000`],
  relayTimes: [
    {
      list: [
        { address: '192.0.2.1', port: 7442, rttMs: 12 },
        { address: '192.0.2.2', port: 7442, rttMs: null },
      ],
    },
    `00 06 02 1d12 ${four}c0000201 000c 1d12 ${four}c0000202 ffff 0000000000`,
  ],
  answerTo: [{ endpoint: { address: '192.0.2.1', port: 258 } }, `00 03 0102 ${four}c0000201 00000000`],
};

/** An ACK with clear and sealed options: the chain runs on behind the (empty) body. */
export const chained: { readonly message: Message; readonly bytes: string } = {
  message: {
    ...from,
    type: 'ack',
    flags: 4,
    epoch: 0,
    sequence: 1,
    body: {},
    options: {
      instance: { kind: 2, instance: id },
      echo: { value: other },
      mapped: { endpoint: { address: '2001:db8::7', port: 7444 } },
      refusal: { reason: 3 },
    },
  },
  bytes: `
    01020304 01040100 00000001 0080 01 00 # Message Length 128, Next Opt instance
    ${id}
    04 03 02 ${id} 0000000000 # instance, then echo
    47 03 ${other} 000000000000 # echo, then mapped, which is sealed
    48 03 1d14 20010db8000000000000000000000007 00000000 # mapped, then refusal
    00 01 0003 00000000 # refusal, the last
    00000000000000000000000000000000`,
};
