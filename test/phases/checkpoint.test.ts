import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { differences, RunFolder, type RunState } from '../../lib/runs/runfolder.js';
import { run as runChild, start } from './support/child.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-run-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const state = (step: number, progress = {}): RunState => ({
  phase: 'sft',
  step,
  logged: step,
  options: {},
  data: 'd',
  progress,
});
const metrics = () => readFileSync(join(dir, 'metrics.jsonl'), 'utf8');
const steps = () => readdirSync(dir).filter((name) => name.startsWith('step-'));
const newestStep = () => Math.max(0, ...steps().map((name) => (name.endsWith('.tmp') ? 0 : Number(name.slice(5)))));
const writeModel = (text: string) => async (folder: string) => writeFileSync(join(folder, 'model'), text);

/** A run that took `last` steps and saved those listed. */
async function runTo(last: number, saved: readonly number[], keep = 2): Promise<void> {
  const run = await RunFolder.open(dir, { resume: true, keep });
  for (let step = (run.checkpoint?.step ?? 0) + 1; step <= last; step++) {
    await run.append({ step, loss: 1 / step });
    if (saved.includes(step))
      await run.save(state(step, { half: 0.1 * step }), 'cpu test', writeModel(`model ${step}`));
  }
  await run.close();
}

describe('a resumed run', () => {
  test('finds its newest checkpoint and drops the steps after it', async () => {
    await runTo(7, [2, 5]);
    const run = await RunFolder.open(dir, { resume: true });
    await run.close();
    expect(run.checkpoint?.step).toBe(5);
    expect(run.checkpoint?.state.progress).toEqual({ half: 0.5 });
    expect(run.checkpoint?.state.device).toBe('cpu test');
    expect(readFileSync(join(run.checkpoint!.dir, 'model'), 'utf8')).toBe('model 5');
    expect(
      metrics()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).step),
    ).toEqual([1, 2, 3, 4, 5]);
  });

  test('without a checkpoint starts from the beginning', async () => {
    await runTo(3, []);
    const run = await RunFolder.open(dir, { resume: true });
    await run.close();
    expect(run.checkpoint).toBeUndefined();
    expect(metrics()).toBe('');
  });

  test('drops a line that was cut short by a kill, and half-saved or half-removed folders', async () => {
    await runTo(4, [2, 4]);
    writeFileSync(join(dir, 'metrics.jsonl'), '{"step":5,"lo', { flag: 'a' });
    for (const name of ['step-000006.tmp', 'step-000001.old.tmp', 'model.tmp']) {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'model'), 'half');
    }
    const run = await RunFolder.open(dir, { resume: true });
    await run.close();
    expect(run.checkpoint?.step).toBe(4);
    expect(readdirSync(dir).sort()).toEqual(['metrics.jsonl', 'step-000002', 'step-000004']);
    expect(metrics().endsWith('{"step":4,"loss":0.25}\n')).toBe(true);
  });

  test('keeps only the newest checkpoints, in the order of their steps', async () => {
    await runTo(12, [3, 6, 9, 10, 12], 3);
    expect(steps()).toEqual(['step-000009', 'step-000010', 'step-000012']);
    const run = await RunFolder.open(dir, { resume: true });
    await run.save(state(1_000_000), 'cpu', writeModel('late'));
    await run.close();
    expect(steps()).toEqual(['step-000012', 'step-1000000']);
    expect((await reopen()).checkpoint?.step).toBe(1_000_000);
  });
});

async function reopen(): Promise<RunFolder> {
  const run = await RunFolder.open(dir, { resume: true });
  await run.close();
  return run;
}

test('a run that another process is writing is refused until that process has ended', async () => {
  const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  const started = readFileSync(`/proc/${other.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19];
  const file = join(dir, 'process.json');
  try {
    writeFileSync(file, JSON.stringify({ pid: other.pid, started }));
    await expect(reopen()).rejects.toThrow(`${dir} is being written by process ${other.pid}`);
    writeFileSync(file, JSON.stringify({ pid: other.pid, started: '1' })); // its id was another process's before
    await reopen();
    writeFileSync(file, JSON.stringify({ pid: other.pid, started }));
  } finally {
    const ended = new Promise((resolve) => other.once('exit', resolve));
    other.kill('SIGKILL');
    await ended;
  }
  const run = await RunFolder.open(dir, { resume: true });
  expect(JSON.parse(readFileSync(file, 'utf8')).pid).toBe(process.pid);
  await run.close();
  expect(existsSync(file)).toBe(false);
});

test('a new run keeps the other files of its folder', async () => {
  writeFileSync(join(dir, 'notes.tmp'), 'mine');
  await (await RunFolder.open(dir)).close();
  expect(readdirSync(dir).sort()).toEqual(['metrics.jsonl', 'notes.tmp']);
});

test('a folder that holds a run is refused unless it is resumed', async () => {
  await runTo(1, []);
  await expect(RunFolder.open(dir)).rejects.toThrow(`${dir} already holds a run`);
});

test('a save that fails leaves the checkpoint before it and nothing half-written', async () => {
  const run = await RunFolder.open(dir);
  await run.append({ step: 1 });
  await run.save(state(1), 'cpu', writeModel('good'));
  const failing = run.save(state(2), 'cpu', async (folder) => {
    symlinkSync('/dev/full', join(folder, 'model')); // a device that is always full
    writeFileSync(join(folder, 'model'), 'half');
  });
  await expect(failing).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining('the disk is full') });
  await run.close();
  expect(steps()).toEqual(['step-000001']);
});

test('a file that cannot be written is an ERR_IO that names the run', async () => {
  mkdirSync(join(dir, 'run', 'metrics.jsonl'), { recursive: true }); // a folder where the file should be
  await expect(RunFolder.open(join(dir, 'run'), { resume: true })).rejects.toMatchObject({
    code: 'ERR_IO',
    message: expect.stringContaining('cannot open the run'),
  });
});

test('a damaged state.json is named', async () => {
  await runTo(2, [2]);
  const file = join(dir, 'step-000002', 'state.json');
  writeFileSync(file, '{"step":');
  await expect(reopen()).rejects.toThrow(`${file}: cannot be read`);
  writeFileSync(file, '{"step":2}');
  await expect(reopen()).rejects.toThrow(`${file}: is not the state of a checkpoint`);
});

test('config.json has the configuration of the first start', async () => {
  for (const seed of [1, 2]) await (await RunFolder.open(dir, { resume: true, config: { seed } })).close();
  expect(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'))).toEqual({ seed: 1 });
});

test('a changed option, version or instruction-set level is reported', async () => {
  await runTo(1, [1]);
  const saved = (await reopen()).checkpoint!.state;
  expect(differences(saved, { options: {}, device: 'cpu test' })).toEqual([]);
  const said = differences(
    { ...saved, versions: { heed: '0.0.1', node: 'v20' } },
    { options: { learningRate: 1 }, device: 'cpu other' },
  );
  expect(said).toHaveLength(3);
  expect(said[0]).toContain('version of heed was "0.0.1"');
  expect(said[1]).toContain('device was "cpu test" when the checkpoint was saved and is "cpu other" now');
  expect(said[2]).toContain('learningRate was undefined');
});

test('killed at any moment, even during a save, it ends like an uninterrupted run', async () => {
  const kSteps = 40;
  const alone = mkdtempSync(join(tmpdir(), 'heed-alone-'));
  try {
    const expected = await runChild('./saver.ts', [alone, String(kSteps)]);
    const middle = await start('./saver.ts', [dir, String(kSteps), '7']).ended;
    expect(middle.signal).toBe('SIGKILL');
    expect(steps()).toEqual(['step-000005', 'step-000006', 'step-000007.tmp']);
    let kills = 0;
    for (;;) {
      const { child, ended } = start('./saver.ts', [dir, String(kSteps)]);
      const target = newestStep() + 4;
      const watch = setInterval(() => {
        if (newestStep() >= target) child.kill('SIGKILL');
      }, 1);
      const { signal, stdout, stderr } = await ended;
      clearInterval(watch);
      if (signal === 'SIGKILL') {
        kills++;
        continue;
      }
      expect(stderr).toBe('');
      expect(stdout).toBe(expected);
      break;
    }
    expect(kills).toBeGreaterThan(2);
    expect(metrics()).toBe(readFileSync(join(alone, 'metrics.jsonl'), 'utf8'));
    expect(steps()).toEqual([kSteps - 1, kSteps].map((step) => `step-${String(step).padStart(6, '0')}`));
  } finally {
    rmSync(alone, { recursive: true, force: true });
  }
}, 60_000);
