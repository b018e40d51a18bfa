// Runs after `npm ci`, and when npm packs a git dependency (`npm install git+https://…`). A git dependency also gets an addon for this
// machine if one can be compiled.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { keepPrebuild } from './prebuilt.mjs';
import { addon, buildNative, explain, missingPackages, root } from './tools.mjs';

const isGitDependency = Boolean(process.env._PACOTE_NO_PREPARE_); // npm sets it to avoid preparing recursively

if (isGitDependency) {
  const { assemble } = await import('./prepack.mjs');
  await assemble();
  const missing = missingPackages();
  if (missing.length > 0) {
    console.error(`heed: the addon was not compiled: ${explain(missing)}; then run \`npx heed build\``);
  } else {
    buildNative();
    const { machine, tagOf } = await import('../dist/lib/core/machine.js');
    keepPrebuild(addon, tagOf(machine()));
  }
} else if (!existsSync(join(root, 'dist/lib/index.js')) && existsSync(join(root, 'node_modules/typescript'))) {
  const { compile } = await import('./compile.mjs');
  await compile();
}
