// npm run prebuilds: builds an addon for this machine with its own compiler, into prebuilds/.
// npm run prebuilds -- TAG... | all: cross-compiles the addons of these platforms with zig, as they are published.
// npm run prebuilds -- --check: fails unless the addons of all platforms are there; runs before publishing.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { compile } from './compile.mjs';
import { keepPrebuild } from './prebuilt.mjs';
import { addon, buildNative, fail, mustRun, root } from './tools.mjs';

// Folder names that lib/core/addon.ts looks for, each with zig's name of the platform and the oldest version supported.
const targets = {
  'linux-x64': 'x86_64-linux-gnu.2.28',
  'linux-arm64': 'aarch64-linux-gnu.2.28',
  'linux-x64-musl': 'x86_64-linux-musl',
  'linux-arm64-musl': 'aarch64-linux-musl',
  'darwin-arm64': 'aarch64-macos.13.0',
  'darwin-x64': 'x86_64-macos.13.0',
  'win32-x64': 'x86_64-windows-gnu',
};

if (process.argv[2] === '--check') {
  const isThere = (tag) => {
    const record = join(root, 'prebuilds', tag, 'heed.json');
    if (!existsSync(record)) return false;
    const newest = /^glibc 2\.(\d+)/.exec(JSON.parse(readFileSync(record, 'utf8')).needs);
    return newest === null || Number(newest[1]) <= 28; // an addon built with this machine's own compiler may need a newer one
  };
  const missing = Object.keys(targets).filter((tag) => !isThere(tag));
  if (missing.length > 0) fail(`prebuilds/ lacks ${missing.join(', ')}: npm run prebuilds -- ${missing.join(' ')}`);
  process.exit(0);
}
if (!existsSync(join(root, 'dist/lib/index.js'))) await compile();
const { machine, tagOf } = await import('../dist/lib/core/machine.js');
const here = tagOf(machine());

const asked = process.argv.slice(2);
const tags = asked.includes('all') ? Object.keys(targets) : asked;
const unknown = tags.find((tag) => !Object.hasOwn(targets, tag));
if (unknown !== undefined) fail(`unknown platform ${unknown}: expected ${Object.keys(targets).join(', ')} or all`);
if (tags.length === 0) {
  buildNative();
  keep(addon, here);
}
for (const tag of tags) keep(crossCompile(tag), tag);

function crossCompile(tag) {
  const zig = join(root, 'scripts/zig/node_modules/@zigc', `${process.platform}-${process.arch}`, 'bin/zig');
  if (!existsSync(zig)) mustRun('npm', ['ci', '--no-audit', '--no-fund', '--prefix', 'scripts/zig']);
  const build = join(root, 'cmake-build/prebuilds', tag);
  mkdirSync(build, { recursive: true });
  const options = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_TOOLCHAIN_FILE: join(root, 'cmake/zig.cmake'),
    HEED_ZIG: zig,
    HEED_ZIG_TARGET: targets[tag],
    ...(tag.startsWith('win32') ? { HEED_NODE_LIB: importLibrary(zig, build) } : {}),
  };
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  mustRun('cmake', ['-S', root, '-B', build, '-G', 'Ninja', ...defined, '--log-level=WARNING']);
  mustRun('cmake', ['--build', build, '--parallel', String(availableParallelism()), '--target', 'heed_addon']);
  return join(build, 'heed.node');
}

/** The import library that an addon for Windows is linked with: the functions that node.exe exports. */
function importLibrary(zig, build) {
  const library = join(build, 'node.lib');
  const names = ['js_native_api', 'node_api'].flatMap((name) => {
    const text = readFileSync(join(root, `node_modules/node-api-headers/def/${name}.def`), 'utf8');
    return text
      .slice(text.indexOf('EXPORTS') + 'EXPORTS'.length)
      .trim()
      .split(/\s+/);
  });
  writeFileSync(join(build, 'node.def'), `NAME NODE.EXE\nEXPORTS\n${[...new Set(names)].join('\n')}\n`);
  mustRun(zig, ['dlltool', '-m', 'i386:x86-64', '-d', join(build, 'node.def'), '-l', library]);
  return library;
}

/** Copies the addon into prebuilds/, and loads it if it is for this machine. */
function keep(file, tag) {
  const { path, needs, libraries } = keepPrebuild(file, tag);
  let works = 'was not run: it is for another platform';
  if (tag === here) {
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
    works = `works (${stdout.trim()})`;
  }
  const wanted = [needs, ...libraries].filter(Boolean);
  console.log(`${path} ${works}${wanted.length > 0 ? `; it needs ${wanted.join(', ')}` : ''}`);
}
