// Formats the C++, or checks it: `node scripts/clang-format.mjs -i`, `… --dry-run -Werror`.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './tools.mjs';

if (spawnSync('clang-format', ['--version']).status !== 0) {
  console.log('clang-format is not installed: the C++ was not checked');
  process.exit(0);
}
const files = ['native', 'bindings', 'test/native', 'benchmarks/native'].flatMap((dir) =>
  readdirSync(join(root, dir), { recursive: true })
    .filter((name) => /\.(h|cpp|cuh?)$/.test(name))
    .map((name) => join(dir, name)),
);
process.exit(run('clang-format', [...process.argv.slice(2), ...files]));
