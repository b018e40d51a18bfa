import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadAddon, remedy } from '../../lib/core/addon.js';
import { cpuLevel, describeMachine, glibcVersion, machine, tagOf } from '../../lib/core/machine.js';

const compiled = resolve('cmake-build/Release/heed.node');
const here = machine();
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'heed-addon-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const prebuilt = () => join(root, 'prebuilds', tagOf(here), 'heed.node');
function put(path: string, content: Buffer | string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
const record = (bytes: number, needs?: string) =>
  put(join(dirname(prebuilt()), 'heed.json'), JSON.stringify({ bytes, needs }));
const load = (env: NodeJS.ProcessEnv = {}) => loadAddon(env, root) as { Engine?: unknown };

describe('the addon', () => {
  test('that was compiled here is preferred, then the prebuilt one of this platform', () => {
    put(prebuilt(), '');
    copyFileSync(compiled, prebuilt());
    record(statSync(compiled).size);
    expect(typeof load().Engine).toBe('function');
    put(join(root, 'cmake-build/Release/heed.node'), 'no addon');
    expect(typeof load().Engine).toBe('function'); // what does not load is passed over
  });

  test('that HEED_ADDON names is the only one', () => {
    expect(typeof load({ HEED_ADDON: compiled }).Engine).toBe('function');
    expect(() => load({ HEED_ADDON: '/nowhere/heed.node' })).toThrow(
      'HEED_ADDON is /nowhere/heed.node, but /nowhere/heed.node does not exist',
    );
  });

  test('that is missing: what was looked for on which machine, and the command that helps', () => {
    expect(() => load()).toThrow(`the native addon cannot be loaded on ${describeMachine(here)}: `);
    expect(() => load()).toThrow(`${join(root, 'cmake-build/Release/heed.node')} does not exist`);
    expect(() => load()).toThrow(`${prebuilt()} does not exist`);
    expect(() => load()).toThrow('`npx heed build` compiles it (with cmake and a C++20 compiler)');
    put(join(root, 'tsconfig.json'), '{}');
    expect(() => load()).toThrow('`npm run build` compiles it');
  });

  test('that is missing on Windows, where heed does not compile', () => {
    expect(remedy({ platform: 'win32', arch: 'arm64', libc: undefined }, root)).toBe(
      'heed cannot be compiled on Windows: use the x64 build of Node, or use Linux under WSL',
    );
    expect(remedy({ platform: 'win32', arch: 'x64', libc: undefined }, root)).toContain('install heed again');
    expect(remedy({ platform: 'darwin', arch: 'arm64', libc: undefined }, root)).toContain('`npx heed build`');
  });

  test('that is damaged is tried in another process, and does not take this one down', () => {
    const whole = readFileSync(compiled);
    for (const bytes of [0, 64, 5000, Math.floor(whole.length / 2)]) {
      put(prebuilt(), whole.subarray(0, bytes));
      record(whole.length);
      expect(() => load()).toThrow(new RegExp(`${tagOf(here)}/heed.node (crashes Node|does not load)`));
    }
  });

  test('that needs a newer glibc says which', () => {
    const bytes = readFileSync(compiled);
    const name = bytes.indexOf('GLIBC_2.');
    if (name < 0) return; // musl
    // The version that is needed, by name and by the hash of its name, becomes one that no glibc has.
    const changed = Buffer.from(
      bytes.toString('latin1').replaceAll(/GLIBC_2\.(\d+)\0/g, (version) => version.replace('GLIBC_2', 'GLIBC_9')),
      'latin1',
    );
    put(prebuilt(), changed);
    record(changed.length, 'glibc 9.99');
    expect(() => load()).toThrow(/heed\.node (needs glibc 9\.99|does not load)/);
  });

  test('cannot be found from a bundle, which is said', () => {
    expect(() => loadAddon({}, null)).toThrow('heed was bundled without its native addon: keep it external');
  });
});

test('the machine is described by what decides which addon fits', () => {
  expect(tagOf({ platform: 'linux', arch: 'arm64', libc: 'musl' })).toBe('linux-arm64-musl');
  expect(tagOf({ platform: 'linux', arch: 'x64', libc: 'glibc' })).toBe('linux-x64');
  expect(tagOf({ platform: 'darwin', arch: 'arm64', libc: undefined })).toBe('darwin-arm64');
  if (here.libc === 'glibc') expect(describeMachine(here)).toContain(`glibc ${glibcVersion()}`);
  if (process.platform === 'linux' && process.arch === 'x64') expect(cpuLevel()).toMatch(/^x86-64-v[1-4]$/);
});
