// `npm run build:ts`: compiles the TypeScript to dist/ and adds the other files that belong there.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, root } from './tools.mjs';

/** Compiles lib/ to dist/lib/. */
export async function compile() {
  mustRun(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root]);
  mkdirSync(join(root, 'dist/bindings'), { recursive: true });
  copyFileSync(join(root, 'bindings/addon.d.ts'), join(root, 'dist/bindings/addon.d.ts'));
  await bundleCharts();
}

/** Replaces the module that imports ECharts by one that contains the part that is used. */
async function bundleCharts() {
  const { build } = await import('esbuild');
  await build({
    entryPoints: [join(root, 'lib/report/echarts.ts')],
    outfile: join(root, 'dist/lib/report/echarts.js'),
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    legalComments: 'eof',
    logLevel: 'warning',
  });
  for (const [name, licence] of [
    ['echarts', 'LICENSE'],
    ['echarts', 'NOTICE'],
    ['zrender', 'LICENSE'],
  ]) {
    copyFileSync(join(root, 'node_modules', name, licence), join(root, 'dist/lib/report', `${name}.${licence}.txt`));
  }
}

if (process.argv[1] === import.meta.filename) await compile();
