// Answers of a run's model: while it is trained, and before and after.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type ModelFolder, readModelFolder } from '../../lib/cli/models.js';
import { LiveSamples, type Sampled, writeSamples } from '../../lib/cli/samples.js';
import type { LiveAnswers } from '../../lib/runs/runfolder.js';
import { RunFolder } from '../../lib/runs/runfolder.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';

let engine: Engine;
let folder: ModelFolder;
let model: LanguageModel;
let dir: string;
let run: RunFolder;
beforeAll(async () => {
  engine = await Engine.create({ threads: 1, maxTokens: 1024 });
  folder = await readModelFolder('models/base', 'language');
  model = await LanguageModel.load(engine, 'models/base');
});
afterAll(() => engine.dispose());
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'heed-samples-'));
  run = await RunFolder.open(dir);
});
afterEach(async () => {
  await run.close();
  rmSync(dir, { recursive: true });
});

const training = () => ({ engine, run, signal: new AbortController().signal, onProgress: () => {} });
const sampled = async (texts: readonly string[]): Promise<Sampled> => ({
  folder,
  prompts: await Promise.all(texts.map((text) => folder.tokenizer.encode(text))),
  split: 'instance',
  model,
  before: async () => model,
});
const lines = <T>(name: string) =>
  readFileSync(join(dir, name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as T);

const questions = ['A', 'B', 'C', 'D', 'E', 'F', 'G'].map((name) => `User: Who is ${name}?\nAssistant:`);

test('while it is trained: four prompts, the same answers as at the end, and not more often than asked', async () => {
  const what = await sampled(questions);
  const live = new LiveSamples(training(), what, 0);
  await live.after(7);
  const [first] = lines<LiveAnswers>('answers.jsonl');
  expect(first).toMatchObject({ step: 7, split: 'instance' });
  expect(first!.answers.map(({ prompt }) => prompt)).toEqual(questions.slice(0, 4));
  // A fiftieth of the time at most: the first sampling has just been.
  await live.after(8);
  expect(lines('answers.jsonl')).toHaveLength(1);
  await writeSamples(training(), what);
  const samples = lines<{ prompt: string; split: string; answers: { model: string; text: string }[] }>('samples.jsonl');
  expect(samples.map(({ prompt }) => prompt)).toEqual(questions.slice(0, 6));
  expect(samples.map(({ answers }) => answers.map(({ model }) => model))).toEqual(Array(6).fill(['before', 'after']));
  for (const [i, { text }] of first!.answers.entries()) {
    expect(text.length).toBeGreaterThan(0);
    expect(samples[i]!.answers[1]!.text.startsWith(text)).toBe(true);
  }
});

test('nothing before the first interval is over', async () => {
  const live = new LiveSamples(training(), await sampled(questions));
  await live.after(1);
  expect(existsSync(join(dir, 'answers.jsonl'))).toBe(false);
});

test('prompts that leave no room for an answer are left out', async () => {
  const long = 'word '.repeat(folder.config.maxPositions);
  const live = new LiveSamples(training(), await sampled([long, questions[0]!]), 0);
  await live.after(1);
  expect(lines<LiveAnswers>('answers.jsonl')[0]!.answers.map(({ prompt }) => prompt)).toEqual([questions[0]]);
  const none = new LiveSamples(training(), await sampled([long]), 0);
  await none.after(2);
  expect(lines('answers.jsonl')).toHaveLength(1);
});
