// prebuilds/TAG/heed.node and heed.json beside it: an addon, and what lib/core/addon.ts asks of it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tools.mjs';

/** Keeps an addon for a platform. Returns its path, what it needs of a system, and the libraries that it names. */
export function keepPrebuild(addon, tag) {
  const folder = join(root, 'prebuilds', tag);
  const path = join(folder, 'heed.node');
  mkdirSync(folder, { recursive: true });
  copyFileSync(addon, path);
  // Half of an ELF file is symbol names. Where there is no strip it stays larger; other formats are stripped when they are linked.
  if (tag.startsWith('linux')) spawnSync('strip', ['--strip-unneeded', path]);
  const { glibc, libraries } = needsOf(path);
  const needs = glibc === undefined ? undefined : `glibc ${glibc}`;
  writeFileSync(join(folder, 'heed.json'), `${JSON.stringify({ bytes: statSync(path).size, needs })}\n`);
  return { path, needs, libraries };
}

/** The newest glibc that the symbols of an addon are of, and the libraries that it loads, where objdump can tell. */
export function needsOf(path) {
  const answer = (option) => spawnSync('objdump', [option, path], { encoding: 'utf8' }).stdout ?? '';
  const versions = [...answer('-T').matchAll(/\(?GLIBC_(\d+)\.(\d+)/g)].map(([, major, minor]) => [+major, +minor]);
  const newest = versions.sort((a, b) => a[0] - b[0] || a[1] - b[1]).at(-1);
  return {
    glibc: newest?.join('.'),
    libraries: [...answer('-p').matchAll(/(?:NEEDED|DLL Name:)\s+(\S+)/g)].map(([, name]) => name),
  };
}
