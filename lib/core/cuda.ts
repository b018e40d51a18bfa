/** Finds the CUDA module of the optional package. The addon itself looks in HEED_CUDA and in its own folder. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { machine, tagOf } from './machine.js';
import { packageRoot } from './package.js';

/** The module for this machine in a package beside heed, where Node would find it; '' if none is installed. */
export function cudaModule(root: string | undefined = packageRoot): string {
  if (root === undefined) return '';
  const place = join('node_modules/@heed', `cuda-${tagOf(machine())}`, 'heed_cuda.so');
  for (let dir = dirname(root); ; dir = dirname(dir)) {
    if (existsSync(join(dir, place))) return join(dir, place);
    if (dir === dirname(dir)) return '';
  }
}
