// Every benchmark runs: shapes so small that it takes seconds, and no Python.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const run = join(import.meta.dirname, '../../benchmarks/run.mjs');
const bench = (...args: string[]) =>
  spawnSync(process.execPath, [run, ...args], {
    encoding: 'utf8',
    env: { ...process.env, HEED_PYTHON: '/nonexistent/python' },
  });

test('all, with their results checked and written', () => {
  const dir = mkdtempSync(join(tmpdir(), 'heed-quick-'));
  try {
    const file = join(dir, 'results.json');
    const { status, stderr, stdout } = bench('all', '--quick', '--json', file);
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringMatching(/^(\.{3} .*\n)+$/) }); // progress
    expect(stdout).toContain('no Python with PyTorch');
    const { limits, benchmarks, bounds, machine } = JSON.parse(readFileSync(file, 'utf8'));
    expect(limits.gflops).toBeGreaterThan(0);
    expect(limits.read).toBeGreaterThan(0);
    expect(machine.torch).toBeNull();
    expect(Object.keys(bounds)).toEqual(Object.keys(benchmarks));
    for (const row of Object.values<Record<string, unknown>[]>(benchmarks).flat()) {
      if (row.rateUnit !== 'MiB') expect(row.ms).toBeGreaterThan(0);
      expect(row.rate).toBeGreaterThan(0);
      expect(row.percentOfBound).toBeGreaterThan(0);
      expect(row.percentOfBound).toBeLessThanOrEqual(100);
      expect(['arithmetic', 'memory']).toContain(row.limitedBy);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
}, 120_000);

test('a name that there is not', () => {
  const { status, stderr } = bench('nothing');
  expect(status).toBe(1);
  expect(stderr).toMatch(/^heed: there is no benchmark "nothing": gemm, .* or all\n$/);
});
