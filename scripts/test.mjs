// `npm test`: sets up a fresh clone and runs all tests. `npm test -- ARGS` passes ARGS to jest and skips the native tests.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, run } from './tools.mjs';

await setUp({ tests: true });
const results = join(root, 'cmake-build/results');
const jestResult = join(results, 'jest.json');
const args = process.argv.slice(2);
rmSync(results, { recursive: true, force: true });
mkdirSync(join(results, 'native'), { recursive: true });

const counts = { passed: 0, failed: 0, skipped: 0 };
let failed = false;

if (args.length === 0) {
  const atOnce = String(availableParallelism());
  const status = run('ctest', ['--test-dir', 'cmake-build', '--output-on-failure', '--parallel', atOnce]);
  const before = counts.failed;
  for (const name of readdirSync(join(results, 'native'))) {
    const { tests, failures, errors = 0, testsuites } = JSON.parse(readFileSync(join(results, 'native', name), 'utf8'));
    const skipped = testsuites.flatMap((s) => s.testsuite).filter((t) => t.result === 'SKIPPED').length;
    counts.passed += tests - failures - errors - skipped;
    counts.failed += failures + errors;
    counts.skipped += skipped;
  }
  if (status !== 0 && counts.failed === before) counts.failed++; // a test program that crashed before it reported
  failed ||= status !== 0;
}

const jest = ['--experimental-vm-modules', '--no-warnings', join(root, 'node_modules/jest/bin/jest.js')];
const status = run(process.execPath, [...jest, '--json', `--outputFile=${jestResult}`, ...args]);
if (existsSync(jestResult)) {
  const report = JSON.parse(readFileSync(jestResult, 'utf8'));
  counts.passed += report.numPassedTests;
  counts.failed += report.numFailedTests + report.numRuntimeErrorTestSuites;
  counts.skipped += report.numPendingTests + report.numTodoTests;
} else {
  counts.failed++;
}
failed ||= status !== 0;

console.log(
  `${counts.skipped > 0 ? `${counts.skipped} skipped, ` : ''}${counts.passed} passed, ${counts.failed} failed`,
);
process.exit(failed || counts.failed > 0 ? 1 : 0);
