// After `npm ci`, and where npm makes a package of a git repository (`npm install git+https://…`): there with an addon for this machine,
// if it can be compiled.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { keepPrebuild } from './prebuilt.mjs';
import { addon, buildNative, explain, missingPackages, root } from './tools.mjs';

const isGitDependency = Boolean(process.env._PACOTE_NO_PREPARE_); // npm's sign, against preparing in circles

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
