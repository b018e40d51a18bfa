// Runs before `npm pack` and `npm publish`: generates the files that are in the package and not in the repository. With --undo, runs
// after them and removes those files.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fail, root } from './tools.mjs';

const include = join(root, 'include');
const modules = join(root, 'node_modules');

/** Compiles lib/ from scratch and copies the headers that `npx heed build` needs into include/. */
export async function assemble() {
  if (!existsSync(join(modules, 'typescript'))) fail('packing needs the development packages: run `npm ci` first');
  const { compile } = await import('./compile.mjs');
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  await compile();
  rmSync(include, { recursive: true, force: true });
  mkdirSync(include);
  cpSync(join(modules, 'node-api-headers/include'), join(include, 'node-api'), { recursive: true });
  cpSync(join(modules, 'node-api-headers/LICENSE'), join(include, 'node-api/LICENSE'));
  for (const name of ['napi.h', 'napi-inl.h', 'napi-inl.deprecated.h', 'LICENSE.md']) {
    cpSync(join(modules, 'node-addon-api', name), join(include, 'node-addon-api', name));
  }
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === '--undo') {
    rmSync(include, { recursive: true, force: true });
  } else {
    await assemble();
    const prebuilds = join(root, 'prebuilds');
    const tags = existsSync(prebuilds) ? readdirSync(prebuilds) : [];
    const without = 'none (`npm run prebuilds` builds one): users will have to run `npx heed build`';
    console.error(`heed: prebuilt addons in the package: ${tags.join(', ') || without}`);
  }
}
