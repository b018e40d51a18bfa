// `npm run build:ts`: compiles the TypeScript to dist/ and adds the other files that belong there.
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, root } from './tools.mjs';

/** Compiles lib/ to dist/lib/. */
export async function compile() {
  mustRun(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root]);
  mkdirSync(join(root, 'dist/bindings'), { recursive: true });
  copyFileSync(join(root, 'bindings/addon.d.ts'), join(root, 'dist/bindings/addon.d.ts'));
  await bundleCharts();
  await bundlePages();
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

/** Bundles each page of web/ with its libraries into dist/web/. */
async function bundlePages() {
  const { build } = await import('esbuild');
  const pages = readdirSync(join(root, 'web')).filter((name) => existsSync(join(root, 'web', name, 'main.tsx')));
  for (const name of pages) {
    const [from, to] = [join(root, 'web', name), join(root, 'dist/web', name)];
    await build({
      entryPoints: { app: join(from, 'main.tsx') },
      outdir: to,
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      jsx: 'automatic',
      jsxImportSource: 'preact',
      legalComments: 'eof',
      logLevel: 'warning',
    });
    copyFileSync(join(from, 'index.html'), join(to, 'index.html'));
  }
}

if (process.argv[1] === import.meta.filename) await compile();
