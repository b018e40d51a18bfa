// npm run cuda: the CUDA module, compiled with this machine's nvcc, as the optional package @heed/cuda-linux-x64, in
// cmake-build/cuda-linux-x64: `npm publish` there publishes it, after heed of the same version.
// npm run cuda -- --module FILE: with a module that is compiled already.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { needsOf } from './prebuilt.mjs';
import { buildNative, cudaModule, fail, root } from './tools.mjs';

const { values } = parseArgs({ options: { module: { type: 'string' } } });
if (values.module === undefined) buildNative({ cuda: true });
const source = resolve(values.module ?? cudaModule);
if (!existsSync(source)) fail(`${source} does not exist`);

const folder = join(root, 'cmake-build/cuda-linux-x64');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const module = join(folder, 'heed_cuda.so');
copyFileSync(source, module);
spawnSync('strip', ['--strip-unneeded', module]);
const { glibc, libraries } = needsOf(module);
const { version, license, author } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const about = {
  name: '@heed/cuda-linux-x64',
  version,
  description: 'The CUDA module of heed, for NVIDIA GPUs',
  license,
  author,
  os: ['linux'],
  cpu: ['x64'],
  libc: ['glibc'],
  files: ['heed_cuda.so'],
  preferUnplugged: true,
  publishConfig: { access: 'public' },
  peerDependencies: { heed: version },
};
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
writeFileSync(
  join(folder, 'README.md'),
  `# ${about.name}

The CUDA module of heed ${version}, for NVIDIA GPUs of compute capability 8.0 (A100) and newer on Linux x64. heed finds it when it is installed beside it, and uses it where an engine asks for it:

    npm install heed@${version} ${about.name}@${version}

    const engine = await Engine.create({ device: 'cuda' }); // or 'auto'

It needs glibc${glibc === undefined ? '' : ` ${glibc}`} and libstdc++, and to run an NVIDIA driver for CUDA 13; neither the CUDA toolkit nor cuBLAS. Both
packages must have the same version.

MIT licence; the file contains NVIDIA's CUDA run-time library (cudart_static), which the licence of the CUDA toolkit allows to be passed on.
`,
);
console.log(
  `${folder}: ${about.name} ${version}; it needs ${[glibc && `glibc ${glibc}`, ...libraries].filter(Boolean).join(', ')}`,
);
