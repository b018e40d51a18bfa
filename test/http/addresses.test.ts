import type { NetworkInterfaceInfo } from 'node:os';
import { expect, test } from '@jest/globals';
import { urlsOf } from '../../lib/http/addresses.js';

const address = (address: string, internal = false) =>
  ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo;
const machine = {
  lo: [address('127.0.0.1', true), address('::1', true)],
  eth0: [address('192.0.2.7'), address('fe80::1'), address('2001:db8::7')],
  wlan0: [address('198.51.100.2')],
};

test('a server of every address is reached under each that others can use', () => {
  const url = 'http://127.0.0.1:81';
  const four = ['http://192.0.2.7:81', 'http://198.51.100.2:81'];
  expect(urlsOf(url, '0.0.0.0', machine)).toEqual([...four, url]);
  expect(urlsOf(url, '::', machine)).toEqual([four[0], 'http://[2001:db8::7]:81', four[1], url]);
  expect(urlsOf(url, '127.0.0.1', machine)).toEqual([url]);
  expect(urlsOf(url, '0.0.0.0', {})).toEqual([url]);
});
