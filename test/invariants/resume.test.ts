// Every phase, killed at any moment and resumed, ends bit-identical to an uninterrupted run.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { run as runChild, start } from '../phases/support/child.js';
import { runPhase } from './support/phase.js';

const child = '../../invariants/support/phase.ts';
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'heed-resume-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const metricsOf = (dir: string): Record<string, unknown>[] => {
  const file = join(dir, 'metrics.jsonl');
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
};

/** Every file of a run by its name, metrics without their times. */
function contents(dir: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of readdirSync(dir, { recursive: true }) as string[]) {
    if (statSync(join(dir, name)).isDirectory()) continue;
    files[name] = readFileSync(join(dir, name)).toString('base64');
  }
  files['metrics.jsonl'] = metricsOf(dir)
    .map((line) => JSON.stringify({ ...line, seconds: 0, percentOfPeak: 0 }))
    .join('\n');
  return files;
}

describe.each(['pretrain', 'sft', 'reward', 'ppo', 'ppo bf16'])('%s', (name) => {
  test('killed in the middle of a save and at other moments', async () => {
    const alone = join(root, `${name}-alone`);
    const dir = join(root, `${name}-killed`);
    await runChild(child, [name, alone]);
    const total = metricsOf(alone).length;
    expect(metricsOf(alone).map(({ step }) => step)).toEqual(Array.from({ length: total }, (_, i) => i + 1));

    const middle = await start(child, [name, dir, '10']).ended;
    expect(middle.signal).toBe('SIGKILL');
    expect(readdirSync(dir)).toContain('step-000010.tmp');
    expect(readdirSync(dir)).not.toContain('step-000010');

    let kills = 1;
    for (let delay = 0; ; delay += 7) {
      const { child: process, ended } = start(child, [name, dir]);
      const target = metricsOf(dir).length + 4;
      const watch = setInterval(() => {
        // Fewer lines than before until it has dropped those after its checkpoint; then it grows past them.
        if (metricsOf(dir).length >= target && kills < 4) setTimeout(() => process.kill('SIGKILL'), delay);
      }, 2);
      const { code, signal, stderr } = await ended;
      clearInterval(watch);
      if (signal === 'SIGKILL') {
        kills++;
        continue;
      }
      expect([code, stderr]).toEqual([0, '']);
      break;
    }
    expect(kills).toBeGreaterThanOrEqual(3);
    expect(contents(dir)).toEqual(contents(alone));
  }, 60_000);

  test('aborted at arbitrary moments, repeatedly', async () => {
    const alone = join(root, `${name}-alone-here`);
    const dir = join(root, `${name}-aborted`);
    await runHere(alone);
    let aborts = 0;
    for (let delay = 12; ; delay += 5) {
      const controller = new AbortController();
      const reason = new Error('Ctrl-C');
      const timer = setTimeout(() => controller.abort(reason), delay);
      const before = checkpointStep(dir);
      try {
        await runHere(dir, controller.signal);
        break;
      } catch (error) {
        expect(error).toBe(reason);
        aborts++;
        // Nothing that was logged is lost: the last complete step was saved.
        expect(checkpointStep(dir)).toBeGreaterThanOrEqual(before);
        expect(metricsOf(dir).length).toBeGreaterThanOrEqual(checkpointStep(dir) - 1);
        expect(metricsOf(dir).length).toBeLessThanOrEqual(checkpointStep(dir));
      } finally {
        clearTimeout(timer);
      }
    }
    expect(aborts).toBeGreaterThan(1);
    const final = ([file]: [string, string]) => !file.startsWith('step-'); // aborts save at other steps
    const finalOf = (folder: string) => Object.fromEntries(Object.entries(contents(folder)).filter(final));
    expect(finalOf(dir)).toEqual(finalOf(alone));
  }, 60_000);

  async function runHere(dir: string, signal?: AbortSignal): Promise<void> {
    const run = await RunFolder.open(dir, { resume: true });
    try {
      await runPhase(name, run, signal);
    } finally {
      await run.close();
    }
  }
});

const checkpointStep = (dir: string): number =>
  Math.max(0, ...(existsSync(dir) ? readdirSync(dir) : []).map((file) => Number(/^step-(\d+)$/.exec(file)?.[1] ?? 0)));
