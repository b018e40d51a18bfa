// Shared by the scripts. Uses no npm package, since node_modules may be empty.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Packages whose headers the addon is compiled with; the published package has the headers in include/. */
const headers = ['node_modules/node-addon-api/package.json', 'node_modules/node-api-headers/package.json', 'include'];
export const addon = join(root, 'cmake-build/Release/heed.node');
export const cudaModule = join(root, 'cmake-build/Release/heed_cuda.so');

/** Prints the sentence and exits with status 1. */
export function fail(sentence) {
  console.error(`heed: ${sentence}`);
  process.exit(1);
}

/** Runs a command in the repository with its output shown. Returns its exit status. */
export function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) fail(`cannot run ${command}: ${error.message}`);
  return status ?? 1;
}

/** The same, but exits if the command fails. */
export function mustRun(command, args, env = {}) {
  const status = run(command, args, env);
  if (status !== 0) fail(`\`${[command, ...args].join(' ')}\` failed`);
}

function answers(command, args, input = '') {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', input });
  return status === 0 ? stdout : undefined;
}

const brewNames = { 'ninja-build': 'ninja', 'libgtest-dev': 'googletest' };

/** Build requirements that this machine lacks, with the names of their Debian packages. */
export function missingPackages({ tests = false } = {}) {
  const missing = [];
  const cxx = process.env.CXX || 'c++';
  const preprocesses = (source) =>
    answers(cxx, ['-std=c++20', '-E', '-x', 'c++', '-o', '/dev/null', '-'], source) !== undefined;
  const [major = 0, minor = 0] =
    /(\d+)\.(\d+)/
      .exec(answers('cmake', ['--version']) ?? '')
      ?.slice(1)
      .map(Number) ?? [];
  if (major < 3 || (major === 3 && minor < 25)) missing.push({ name: 'cmake', what: 'cmake 3.25 or newer' });
  if (!answers('ninja', ['--version']) && !answers('make', ['--version'])) {
    missing.push({ name: 'ninja-build', what: 'ninja' });
  }
  if (!preprocesses('#include <version>\n')) missing.push({ name: 'g++', what: 'a C++20 compiler' });
  if (tests && (missing.some(({ name }) => name === 'g++') || !preprocesses('#include <gtest/gtest.h>\n'))) {
    missing.push({ name: 'libgtest-dev', what: 'GoogleTest' });
  }
  return missing;
}

/** The oldest CUDA toolkit that compiles the module. */
const oldestCuda = [12, 8];

/** nvcc of a CUDA toolkit that is new enough. Ends the script with a sentence where there is none. */
export function findNvcc() {
  const places = [
    process.env.CUDACXX,
    ...[process.env.CUDA_HOME, process.env.CUDA_PATH].map((home) => home && join(home, 'bin/nvcc')),
    'nvcc',
    '/usr/local/cuda/bin/nvcc',
  ].filter(Boolean);
  const wanted = `nvcc of the CUDA toolkit ${oldestCuda.join('.')} or newer`;
  const tooOld = [];
  for (const place of places) {
    const release = /release (\d+)\.(\d+)/.exec(answers(place, ['--version']) ?? '');
    if (!release) continue;
    const [major, minor] = release.slice(1).map(Number);
    if (major > oldestCuda[0] || (major === oldestCuda[0] && minor >= oldestCuda[1])) return place;
    tooOld.push(`${place} is of ${major}.${minor}`);
  }
  const looked = places.map((place) => (place === 'nvcc' ? 'PATH' : place)).join(', ');
  fail(
    `the CUDA module needs ${wanted}: ${tooOld.length > 0 ? tooOld.join(', ') : `looked for it in ${looked}`}; set CUDA_HOME to the toolkit's folder`,
  );
}

/** A sentence that names what is missing and the command that installs it. */
export function explain(missing) {
  const what = missing
    .map((m) => m.what)
    .join(', ')
    .replace(/, ([^,]*)$/, ' and $1');
  return `compiling needs ${what}: ${howToInstall(missing.map(({ name }) => name))}`;
}

function howToInstall(names) {
  if (process.platform === 'darwin') {
    const fromBrew = names.filter((name) => name !== 'g++').map((name) => brewNames[name] ?? name);
    const commands = [
      ...(names.includes('g++') ? ['xcode-select --install'] : []),
      ...(fromBrew.length > 0 ? [`brew install ${fromBrew.join(' ')}`] : []),
    ];
    return `install with ${commands.map((command) => `\`${command}\``).join(' and ')}`;
  }
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  return `install with \`${sudo}apt-get install -y ${names.join(' ')}\` (on Debian or Ubuntu; other systems have packages of similar names)`;
}

/**
 * Compiles the addon and, if asked, the native tests with the benchmark programs, those programs alone, or the CUDA module, unless none
 * of their sources has changed. Returns whether it compiled.
 */
export function buildNative({ tests = false, benchmarks = tests, cuda = false } = {}) {
  const build = join(root, 'cmake-build');
  const stampFile = join(build, 'stamp.json');
  const hashes = { addon: hash(['CMakeLists.txt', 'cmake', 'native', 'bindings', ...headers]) };
  if (tests) hashes.tests = hash(['test/native']);
  if (benchmarks) hashes.benchmarks = hash(['benchmarks/native']);
  const stamp = existsSync(stampFile) ? JSON.parse(readFileSync(stampFile, 'utf8')) : {};
  const same = !cuda && existsSync(addon) && stamp.root === root;
  if (same && Object.entries(hashes).every(([part, value]) => stamp[part] === value)) return false;

  if (process.platform === 'win32') fail('heed cannot be compiled on Windows: use Linux under WSL');
  const missing = missingPackages({ tests });
  if (missing.length > 0) fail(explain(missing));
  const nvcc = cuda ? findNvcc() : undefined;
  console.log(`compiling the addon${tests ? ' and the native tests' : ''}${cuda ? ' and the CUDA module' : ''} …`);
  const cache = join(build, 'CMakeCache.txt');
  if (stamp.root !== root) rmSync(build, { recursive: true, force: true }); // CMake refuses the cache of another folder
  const generator = !existsSync(cache) && answers('ninja', ['--version']) ? ['-G', 'Ninja'] : [];
  const options = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_LIBRARY_OUTPUT_DIRECTORY: dirname(addon),
    HEED_TESTS: tests || stamp.tests ? 'ON' : 'OFF',
    HEED_BENCHMARKS: benchmarks || stamp.benchmarks ? 'ON' : 'OFF',
    ...(cuda ? { HEED_CUDA: 'ON', ...(nvcc === 'nvcc' ? {} : { HEED_NVCC: nvcc }) } : {}),
  };
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  const more = process.env.HEED_CMAKE?.split(' ') ?? [];
  mustRun('cmake', ['-S', root, '-B', build, ...generator, ...defined, ...more, '--log-level=WARNING']);
  const some = ['heed_addon', ...(benchmarks ? ['heed_benchmarks'] : []), ...(cuda ? ['heed_cuda'] : [])];
  const targets = tests ? [] : ['--target', ...some];
  mustRun('cmake', ['--build', build, '--parallel', String(availableParallelism()), ...targets]);
  writeFileSync(stampFile, JSON.stringify({ root, ...hashes }));
  return true;
}

// Of the names and contents of all files in these places.
function hash(places) {
  const sum = createHash('sha256').update(`${process.arch} ${process.env.CXX ?? ''}`);
  const add = (place) => {
    const path = join(root, place);
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) add(`${place}/${name}`);
    } else {
      sum.update(`\0${place}\0`).update(readFileSync(path));
    }
  };
  for (const place of places) add(place);
  return sum.digest('hex');
}
