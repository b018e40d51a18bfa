// `npm run sanitize -- address | thread | mutations`: the native tests under AddressSanitizer and UndefinedBehaviorSanitizer and then the
// addon in Node; the native tests under ThreadSanitizer; or `heed score` with 5,000 damaged files under AddressSanitizer
// (test/mutations). HEED_SLOW=1: every instruction-set level and every test.
//
// No report is suppressed: heed has none to hide, and what Node keeps until it exits is no fault (leaks are looked for in the
// native tests alone).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fail, mustRun, root } from './tools.mjs';

const slow = process.env.HEED_SLOW === '1';
const kind = process.argv[2];
if (!['address', 'thread', 'mutations'].includes(kind))
  fail(`sanitize what: address, thread or mutations, not ${kind ?? 'nothing'}`);
const isAddress = kind !== 'thread';
const build = join(root, 'cmake-build', isAddress ? 'address' : 'thread');

// Vector code of the widest kind and the one without; races are in the code that they share.
const levels = isAddress ? 'portable;avx512_bf16' : 'portable';
const configure = [
  ...['-S', root, '-B', build, '-DHEED_TESTS=ON', `-DHEED_ADDON=${isAddress ? 'ON' : 'OFF'}`],
  `-DHEED_SANITIZE=${isAddress ? 'address,undefined' : 'thread'}`,
  ...(slow || process.arch !== 'x64' ? [] : [`-DHEED_LEVELS=${levels}`]),
];
const hasNinja = spawnSync('ninja', ['--version']).status === 0;
mustRun('cmake', [...configure, ...(hasNinja ? ['-G', 'Ninja'] : [])]);
const tests = kind === 'mutations' ? [] : ['ops_test', 'model_test'];
const targets = [...tests, ...(isAddress ? ['heed_addon'] : [])];
mustRun('cmake', ['--build', build, '--parallel', String(availableParallelism()), '--target', ...targets]);

process.env.ASAN_OPTIONS = 'detect_leaks=1:allocator_may_return_null=1';
process.env.UBSAN_OPTIONS = 'halt_on_error=1:print_stacktrace=1';
process.env.TSAN_OPTIONS = 'halt_on_error=1';
// Under ThreadSanitizer only what threads share; the curves of training take a minute and are one thread's arithmetic.
const filters = {
  ops_test: '*Thread*:Pool*:Packed*:Scratch*:CpuBackend*:Cancel*',
  model_test: '-*Curve*',
};
for (const test of tests) {
  const filter = filters[test];
  const some = slow || isAddress ? [] : [`--gtest_filter=${filter}`];
  mustRun(join(build, test), ['--gtest_brief=1', ...some]);
}

if (isAddress) {
  const libraries = ['libasan.so', 'libubsan.so'].map((name) => {
    const { stdout } = spawnSync(process.env.CXX || 'c++', [`-print-file-name=${name}`], { encoding: 'utf8' });
    const path = stdout?.trim();
    if (!path || !existsSync(path)) fail(`the compiler has no ${name}, which Node must load before the addon`);
    return path;
  });
  const program =
    kind === 'mutations'
      ? [join(root, 'test/mutations/run.mjs'), '--processes', '200', ...process.argv.slice(3)]
      : ['--expose-gc', join(root, 'test/sanitizers/phases.mjs')];
  mustRun(process.execPath, program, {
    HEED_ADDON: join(build, 'heed.node'),
    LD_PRELOAD: libraries.join(' '),
    ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1',
  });
}
