// Writes prebuilds/TAG/heed.node and, beside it, heed.json, the record that lib/core/addon.ts reads.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tools.mjs';

/** Copies an addon into prebuilds/. Returns its new path, the glibc that it needs, and the shared libraries that it loads. */
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

/** The glibc version that an addon needs and the shared libraries that it loads, as far as objdump can read the file. */
export function needsOf(path) {
  const answer = (option) => spawnSync('objdump', [option, path], { encoding: 'utf8' }).stdout ?? '';
  const versions = [...answer('-T').matchAll(/\(?GLIBC_(\d+)\.(\d+)/g)].map(([, major, minor]) => [+major, +minor]);
  const newest = versions.sort((a, b) => a[0] - b[0] || a[1] - b[1]).at(-1);
  return {
    glibc: newest?.join('.'),
    libraries: [...answer('-p').matchAll(/(?:NEEDED|DLL Name:)\s+(\S+)/g)].map(([, name]) => name),
  };
}
