// What people ask of a running job: pause, go on, stop.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { trainSft } from '../../lib/phases/sft.js';
import { writerOf } from '../../lib/runs/process.js';
import { ask, requestOf, StopRequested } from '../../lib/runs/requests.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { Engine } from '../../lib/runtime/engine.js';
import { sequencesToMemorise, tinyModel } from '../phases/support/toy.js';

let engine: Engine;
let dir: string;
beforeAll(async () => {
  engine = await Engine.create({ threads: 1, maxTokens: 256 });
});
afterAll(() => engine.dispose());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-requests-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const sequences = sequencesToMemorise(12).map(({ sequence }) => sequence);

async function start(signal?: AbortSignal) {
  const run = await RunFolder.open(dir, { resume: true });
  const model = await tinyModel(engine);
  const phase = trainSft({ model, sequences, batchSize: 4, steps: 6, learningRate: 1e-2, saveEvery: 0, run, signal });
  return { run, phase };
}

const stepsWritten = () => readFileSync(join(dir, 'metrics.jsonl'), 'utf8').split('\n').length - 1;

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await setTimeout(20);
}

describe('a pause', () => {
  test('holds the run between two steps until it is taken back', async () => {
    const { run, phase } = await start();
    await phase.next();
    await ask(dir, 'pause');
    let isDone = false;
    const second = phase.next().then((result) => {
      isDone = true;
      return result;
    });
    await until(async () => (await writerOf(dir))?.paused === true);
    expect(await writerOf(dir)).toEqual({ pid: process.pid, phase: 'sft', total: 6, paused: true });
    await setTimeout(400);
    expect(isDone).toBe(false);
    expect(existsSync(join(dir, 'step-000001'))).toBe(true); // a process that is paused may be ended
    await ask(dir, undefined);
    expect((await second).value).toMatchObject({ step: 2 });
    expect(await writerOf(dir)).toEqual({ pid: process.pid, phase: 'sft', total: 6 });
    await phase.return({ steps: 0 });
    await run.close();
  });

  test('ends with an abort, which saves', async () => {
    const controller = new AbortController();
    const { run, phase } = await start(controller.signal);
    await phase.next();
    await ask(dir, 'pause');
    const second = phase.next();
    const failed = expect(second).rejects.toThrow('enough');
    await until(async () => (await writerOf(dir))?.paused === true);
    controller.abort(new Error('enough'));
    await failed;
    await run.close();
    expect(existsSync(join(dir, 'step-000001'))).toBe(true);
    expect(existsSync(join(dir, 'request.json'))).toBe(false);
  });
});

describe('a request to stop', () => {
  test('saves the last step, and the run continues from it later', async () => {
    const first = await start();
    await first.phase.next();
    await first.phase.next();
    await ask(dir, 'stop');
    await expect(first.phase.next()).rejects.toThrow(new StopRequested(dir));
    await first.run.close();
    expect(existsSync(join(dir, 'step-000002'))).toBe(true);
    expect(stepsWritten()).toBe(2);
    expect(await writerOf(dir)).toBeUndefined();
    const second = await start();
    expect((await second.phase.next()).value).toMatchObject({ step: 3 });
    await second.phase.return({ steps: 0 });
    await second.run.close();
  });

  test('to an earlier process does not stop the one that resumes', async () => {
    const { run, phase } = await start();
    await phase.next();
    await phase.return({ steps: 0 });
    await run.close();
    await ask(dir, 'stop');
    const again = await start();
    expect((await again.phase.next()).value).toMatchObject({ step: 2 });
    await again.phase.return({ steps: 0 });
    await again.run.close();
  });
});

test('files of the same names in a folder that was no run stay', async () => {
  writeFileSync(join(dir, 'request.json'), '{"mine": 1}');
  writeFileSync(join(dir, 'answers.jsonl'), '{"mine": 2}\n');
  await (await RunFolder.open(dir)).close();
  expect(readFileSync(join(dir, 'request.json'), 'utf8')).toBe('{"mine": 1}');
  expect(readFileSync(join(dir, 'answers.jsonl'), 'utf8')).toBe('{"mine": 2}\n');
});

test('a file that is no request asks nothing', async () => {
  for (const text of ['', '{"request": "explode"}', 'null', '[]']) {
    writeFileSync(join(dir, 'request.json'), text);
    expect(await requestOf(dir)).toBeUndefined();
  }
});

test('answers of later steps than the checkpoint go at a resume', async () => {
  const { run, phase } = await start();
  await phase.next();
  await run.appendAnswers({ step: 1, split: 'train', answers: [{ prompt: 'a', text: 'b' }] });
  await phase.return({ steps: 0 });
  await run.appendAnswers({ step: 2, split: 'train', answers: [] });
  await run.close();
  await (await RunFolder.open(dir, { resume: true })).close();
  expect(readFileSync(join(dir, 'answers.jsonl'), 'utf8')).toBe(
    '{"step":1,"split":"train","answers":[{"prompt":"a","text":"b"}]}\n',
  );
});
