// `npm run prebuild`: writes prebuilds/PLATFORM-ARCH/heed.node, loads it, and says what it needs of a system.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fail, mustRun, root } from './tools.mjs';

// node-gyp wants Node's headers although nothing here is compiled with them; those beside node spare a download.
const home = dirname(dirname(process.execPath));
const headers = existsSync(join(home, 'include/node/node.h')) ? { npm_config_nodedir: home } : {};
mustRun(process.execPath, [join(root, 'node_modules/prebuildify/bin.js'), '--napi', '--strip'], headers);

const require = createRequire(import.meta.url);
const path = join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'heed.node');
const resolved = spawnSync(
  process.execPath,
  ['-p', `require(${JSON.stringify(require.resolve('node-gyp-build'))}).resolve(${JSON.stringify(root)})`],
  { encoding: 'utf8', env: { ...process.env, PREBUILDS_ONLY: '1' } },
).stdout.trim();
if (resolved !== path) fail(`node-gyp-build finds ${resolved || 'nothing'}, expected ${path}`);
const { Engine } = require(path);
console.log(`${path} loads: ${new Engine({ threads: 1, level: '', maxTokens: 16 }).info().device}`);

const answer = (option) => spawnSync('objdump', [option, path], { encoding: 'utf8' }).stdout ?? '';
const symbols = [...answer('-T').matchAll(/\(?GLIBC_(\d+)\.(\d+)\)?\s+(\S+)/g)].map(([, major, minor, name]) => ({
  name,
  version: [Number(major), Number(minor)],
}));
if (symbols.length > 0) {
  const newer = (a, b) => a[0] - b[0] || a[1] - b[1];
  const [major, minor] = symbols
    .map(({ version }) => version)
    .sort(newer)
    .at(-1);
  const recent = symbols.filter(({ version }) => newer(version, [2, 31]) > 0);
  const libraries = [...answer('-p').matchAll(/NEEDED\s+(\S+)/g)].map(([, name]) => name);
  console.log(`needs glibc ${major}.${minor} or newer, and ${libraries.join(', ')}`);
  for (const { name, version } of recent) console.log(`  newer than 2.31: ${name} (${version.join('.')})`);
}
