// Installs what a fresh clone lacks: npm packages, system packages, the compiled addon, the compiled TypeScript.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from './compile.mjs';
import { buildNative, explain, fail, missingPackages, mustRun, root, run } from './tools.mjs';

/**
 * @param tests also installs and compiles what only the tests need
 * @param benchmarks also compiles the programs that benchmarks time
 */
export async function setUp({ tests = false, benchmarks = tests } = {}) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node ${process.versions.node} is too old: heed needs 20.19 or newer`);
  systemPackages({ tests }); // first: npm compiles SQLite where there is no addon of it for this machine
  npmPackages();
  if (tests) {
    sqlite();
    browser();
  }
  buildNative({ tests, benchmarks });
  await compile();
}

// Without warnings: some packages of the tests name newer versions of Node than they need.
const ci = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];

function npmPackages() {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules/.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  console.log('installing npm packages (npm ci) …');
  mustRun('npm', ci);
}

// An optional dependency, which npm leaves out without a word where it can be neither downloaded nor compiled.
function sqlite() {
  const program = "new (require('better-sqlite3'))(':memory:')";
  const works = () => spawnSync(process.execPath, ['-e', program], { cwd: root }).status === 0;
  if (works()) return;
  console.log('installing npm packages once more, for better-sqlite3 (npm ci) …');
  mustRun('npm', ci);
  if (!works())
    fail(
      'the tests need better-sqlite3, whose addon npm could neither download nor compile: that takes python3, make and g++',
    );
}

// Only as root on a system with apt-get, announced first, and not with HEED_NO_APT=1.
function systemPackages({ tests }) {
  const missing = missingPackages({ tests });
  if (missing.length === 0) return;
  const refused = process.env.HEED_NO_APT === '1';
  if (refused || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) fail(explain(missing));
  const names = missing.map(({ name }) => name);
  if (names.includes('cmake') && !names.includes('ninja-build')) names.push('ninja-build');
  console.log(`installing system packages: apt-get install -y ${names.join(' ')} (HEED_NO_APT=1 prevents this)`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-q'], env);
  mustRun('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...names], env);
  const still = missingPackages({ tests });
  if (still.length > 0) fail(explain(still));
}

// Tests of pages need a browser; they skip where there is none, so that a failure here is no failure.
function browser() {
  const isDebian = existsSync('/etc/os-release') && /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'));
  const installs = process.getuid?.() === 0 && isDebian && process.env.HEED_NO_APT !== '1';
  if (!installs || existsSync('/usr/bin/chromium') || process.env.HEED_CHROMIUM !== undefined) return;
  console.log('installing a browser for the tests of pages: apt-get install -y chromium (HEED_NO_APT=1 prevents this)');
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-q'], env);
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'chromium'], env);
}
