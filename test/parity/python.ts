// A Python with transformers, if there is one: HEED_PYTHON, or python3.
import { spawnSync } from 'node:child_process';
import { test } from '@jest/globals';

const python = process.env.HEED_PYTHON ?? 'python3';

/** What the script prints. */
export function runPython(script: string, args: readonly string[] = []): string {
  const child = spawnSync(python, [script, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  });
  if (child.status !== 0) throw new Error(`${python} ${script} failed:\n${child.stderr}${child.error ?? ''}`);
  return child.stdout;
}

const found =
  spawnSync(python, ['-c', 'import torch, transformers, safetensors, numpy'], { stdio: 'ignore' }).status === 0;

/** A test that needs it; skipped with a message if there is none. */
export function testWithPython(name: string, body: () => void | Promise<void>): void {
  if (found) test(name, body, 300_000);
  else test.skip(`${name} (${python} has no transformers: set HEED_PYTHON to one that has)`, body);
}
