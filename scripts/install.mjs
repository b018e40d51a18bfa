// The published package's install script: uses the prebuilt addon where it fits, else compiles; installs nothing else.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildNative, explain, fail, missingPackages, root } from './tools.mjs';

const require = createRequire(import.meta.url);

function hasPrebuild() {
  try {
    require(require('node-gyp-build').resolve(root));
    return true;
  } catch {
    return false;
  }
}

const inRepository = existsSync(join(root, 'tsconfig.json')); // there `npm run build` compiles
if (!inRepository && !hasPrebuild()) {
  const missing = missingPackages();
  if (missing.length > 0)
    fail(`there is no prebuilt addon for ${process.platform}-${process.arch}, and ${explain(missing)}`);
  buildNative();
}
