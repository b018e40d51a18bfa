// `npm run prebuilds`: puts an addon for this machine, compiled here, into prebuilds/, and says what it needs of a system.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from './compile.mjs';
import { keepPrebuild } from './prebuilt.mjs';
import { addon, buildNative, fail, root } from './tools.mjs';

if (!existsSync(join(root, 'dist/lib/index.js'))) await compile();
const { machine, tagOf } = await import('../dist/lib/core/machine.js');

buildNative();
const { path, needs, libraries } = keepPrebuild(addon, tagOf(machine()));
const program = `import { Engine } from './dist/lib/index.js';
const engine = await Engine.create({ threads: 1 });
console.log(engine.info.device);
await engine.dispose();`;
const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, HEED_ADDON: path },
});
if (status !== 0) fail(`${path} does not work`);
console.log(`${path} works (${stdout.trim()}); it needs ${needs ?? 'no glibc'}, and ${libraries.join(', ')}`);
