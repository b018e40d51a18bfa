import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { hash } from '../../lib/core/random.js';
import { Frame } from '../../lib/data/index.js';
import { choiceFigures, choiceOf } from '../../lib/evaluate/choices.js';
import { modelScores } from '../../lib/evaluate/judges.js';
import { likelihoods, windowsOf } from '../../lib/evaluate/likelihood.js';
import { perplexityFigures } from '../../lib/evaluate/perplexity.js';
import { sampleAnswers } from '../../lib/evaluate/sample.js';
import { choiceEntropy, stereotypeFigures } from '../../lib/evaluate/stereotypes.js';
import { calibrate, toxicityFigures } from '../../lib/evaluate/toxicity.js';
import { partsOf } from '../../lib/evaluate/trees.js';
import {
  Engine,
  generateText,
  LanguageModel,
  packDocuments,
  ScalarModel,
  scoreText,
  Tokenizer,
} from '../../lib/index.js';

let engine: Engine;
let model: LanguageModel;
let tokenizer: Tokenizer;
const cwd = mkdtempSync(join(tmpdir(), 'heed-likelihood-'));

beforeAll(async () => {
  engine = await Engine.create({ threads: 1 });
  model = await LanguageModel.load(engine, 'models/base');
  tokenizer = await Tokenizer.load('models/base');
});
afterAll(async () => {
  await engine.dispose();
  rmSync(cwd, { recursive: true });
});

/** Σ log-probability of the last `count` ids, by a softmax in double precision of one sequence's logits. */
async function byLogits(ids: readonly number[], count: number): Promise<number> {
  const batch = packDocuments([ids]);
  const logits = await model.logits(batch);
  const V = model.config.vocabSize;
  let sum = 0;
  for (let row = ids.length - 1 - count; row < ids.length - 1; row++) {
    const of = Array.from(logits.subarray(row * V, (row + 1) * V));
    const top = Math.max(...of);
    sum += of[ids[row + 1]!]! - top - Math.log(of.reduce((total, x) => total + Math.exp(x - top), 0));
  }
  return sum;
}
const idsOf = async (text: string) => Array.from(await tokenizer.encode(text));

describe('likelihoods', () => {
  test('of texts after a prompt, and of whole sentences, against logits in double precision', async () => {
    const items = [
      { prompt: 'Q: What does a dog say?\nA:', texts: [' A dog says woof.', ' meow'] },
      { prompt: '', texts: ['The cow eats grass.'] },
    ];
    const [first, second] = await likelihoods(items, { model, tokenizer });
    for (const [k, text] of items[0]!.texts.entries()) {
      const prompt = await idsOf(items[0]!.prompt);
      const whole = await idsOf(items[0]!.prompt + text);
      expect(whole.slice(0, prompt.length)).toEqual(prompt);
      const { logprob, tokens, bytes } = first![k]!;
      expect(logprob).toBeCloseTo(await byLogits(whole, whole.length - prompt.length), 3);
      expect([tokens, bytes]).toEqual([whole.length - prompt.length, text.length]);
    }
    const sentence = await idsOf('The cow eats grass.');
    expect(second![0]!.logprob).toBeCloseTo(await byLogits([tokenizer.endOfText, ...sentence], sentence.length), 3);
    expect(second![0]!.tokens).toBe(sentence.length); // without an end-of-text token
  });
  test('an item longer than the positions is undefined, its neighbours are not', async () => {
    const long = 'cow '.repeat(300);
    const found = await likelihoods(
      [
        { prompt: 'A', texts: [' b'] },
        { prompt: long, texts: [' b'] },
        { prompt: 'A', texts: [' b', long] },
        { prompt: 'A', texts: [' c'] },
      ],
      { model, tokenizer },
    );
    expect(found.map((one) => one !== undefined)).toEqual([true, false, false, true]);
    const [alone] = await likelihoods([{ prompt: 'A', texts: [' c'] }], { model, tokenizer });
    expect(found[3]![0]!.logprob).toBeCloseTo(alone![0]!.logprob, 4);
  });
  test('windows predict every token once', () => {
    const ids = Int32Array.from({ length: 23 }, (_, i) => 100 + i);
    const windows = windowsOf(ids, tokenizer, 8);
    expect(windows.map(({ length }) => length)).toEqual([8, 8, 8, 3]);
    expect(windows.flatMap((window) => [...window.slice(1)])).toEqual([...ids]);
    expect(windows[0]![0]).toBe(tokenizer.endOfText);
    expect(windows[1]![0]).toBe(ids[6]);
    expect(windowsOf(ids.slice(0, 7), tokenizer, 8)).toHaveLength(1);
  });
});

test('a prompt with more responses than a pass has room for is computed in parts, with the same results', async () => {
  const trees = [
    { prompt: [1, 2, 3], responses: [[4, 5], [6], [7, 8, 9], [10]] },
    { prompt: [1], responses: [[2]] },
  ];
  const { parts, of } = partsOf(trees, 6);
  expect(parts.map(({ responses }) => responses)).toEqual([[[4, 5], [6]], [[7, 8, 9]], [[10]], [[2]]]);
  expect(of).toEqual([0, 0, 0, 1]);
  expect(partsOf(trees, 99).parts).toEqual(trees);
  const small = await Engine.create({ threads: 1, maxTokens: 256 });
  const same = await LanguageModel.load(small, 'models/base');
  const texts = Array.from({ length: 60 }, (_, i) => ` The dog number ${i} says woof to a cow.`);
  const items = [{ prompt: 'User: What does a dog say?', texts }];
  const [whole] = await likelihoods(items, { model, tokenizer });
  const [inParts] = await likelihoods(items, { model: same, tokenizer });
  expect(whole).toHaveLength(60);
  inParts!.forEach(({ logprob, tokens }, k) => {
    expect(tokens).toBe(whole![k]!.tokens);
    expect(logprob).toBeCloseTo(whole![k]!.logprob, 3);
  });
  const reward = await ScalarModel.from(same, { seed: 1 });
  const one = [
    { model: 'a', texts: [texts.join('').slice(0, 300)] },
    ...texts.map((text, i) => ({ model: `${i}`, texts: [text] })),
  ];
  const scores = await modelScores(reward, new Frame(tokenizer), ['User:'], one);
  const alone = await scoreText({ model: reward, tokenizer, prompt: 'User:', response: texts[59]! });
  expect(scores[60]![0]).toBeCloseTo(alone, 4);
  await small.dispose();
});

test('perplexity and bits per byte, documents of one file', async () => {
  const texts = ['The dog says woof. '.repeat(60), 'The cow says moo.', 'Café crème.'];
  const file = join(cwd, 'documents.jsonl');
  writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  let nats = 0;
  let tokens = 0;
  const L = model.config.maxPositions;
  for (const text of texts) {
    const ids = [tokenizer.endOfText, ...(await idsOf(text))];
    for (let begin = 0; begin < ids.length - 1; begin += L - 1) {
      const window = ids.slice(begin, begin + L);
      nats -= await byLogits(window, window.length - 1);
      tokens += window.length - 1;
    }
  }
  expect(tokens).toBeGreaterThan(L); // more than one window
  const [perplexity, bits] = await perplexityFigures('m', file, { model, tokenizer });
  expect(perplexity!.value / Math.exp(nats / tokens)).toBeCloseTo(1, 5);
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  expect(bits!.value).toBeCloseTo(nats / Math.LN2 / bytes, 5);
  expect(perplexity).toMatchObject({ count: 3, of: 'documents', note: `${tokens} tokens` });
  expect(perplexity!.low).toBeLessThan(perplexity!.value);
  writeFileSync(join(cwd, 'one.txt'), texts[0]!);
  const [one] = await perplexityFigures('m', join(cwd, 'one.txt'), { model, tokenizer });
  expect(one!.of).toBe('windows');
  writeFileSync(file, `${JSON.stringify({ text: '' })}\n`);
  await expect(perplexityFigures('m', file, { model, tokenizer })).rejects.toThrow('documents.jsonl: has no text');
});

test('choices and sentences of a model that knows its world', async () => {
  const choices = ['dog', 'cow', 'cat'].map((animal) => ({
    prompt: `User: What does a ${animal} say?\nAssistant:`,
    texts: [
      { dog: ' A dog says woof.', cow: ' A cow says moo.', cat: ' A cat says meow.' }[animal]!,
      ' Grass grass grass.',
    ],
    right: [0],
    category: undefined,
  }));
  const long = { prompt: 'x '.repeat(400), texts: [' a', ' b'], right: [0], category: undefined };
  const [accuracy] = await choiceFigures('m', 'x', [...choices, long], { model, tokenizer });
  expect(accuracy).toMatchObject({
    name: 'accuracy',
    value: 1,
    count: 3,
    note: "chance 0.500; 1 row was left out: longer than the model's positions",
  });
  // Chance of MC1: one best of it and the wrong ones; other true choices do not compete.
  const several = [{ ...choices[0]!, texts: [' a', ' b', ' c'], right: [0, 1] }];
  const [mc1] = await choiceFigures('m', 'x', several, { model, tokenizer });
  expect(mc1).toMatchObject({ name: 'MC1', note: 'chance 0.500' });
  // A row of TruthfulQA, from its fields to the figures, against logits in double precision.
  const truthful = {
    question: 'What does a dog say?',
    best_answer: 'A dog says woof woof.',
    correct_answers: ['A dog says woof woof.', 'A dog says woof.', 'The dog says woof.'],
    incorrect_answers: ['A dog says moo.', 'Nothing at all.'],
  };
  const question = choiceOf({ file: 'f', line: 1, value: truthful });
  const logprob = async (text: string) => {
    const [prompt, whole] = [await idsOf(question.prompt), await idsOf(`${question.prompt} ${text}`)];
    return byLogits(whole, whole.length - prompt.length);
  };
  const [right, wrong] = await Promise.all(
    [truthful.correct_answers, truthful.incorrect_answers].map((some) => Promise.all(some.map(logprob))),
  );
  const sum = (some: readonly number[]) => some.reduce((total, x) => total + Math.exp(x), 0);
  const figures = await choiceFigures('m', 'x', [question], { model, tokenizer });
  const figureOf = (name: string) => figures.find((one) => one.name === name)!.value;
  expect(figureOf('MC1')).toBe(Number(right![0]! > Math.max(...wrong!)));
  expect(figureOf('MC2')).toBeCloseTo(sum(right!) / (sum(right!) + sum(wrong!)), 4);
  const perByte = [
    right![0]! / ' A dog says woof woof.'.length,
    ...wrong!.map((x, i) => x / (truthful.incorrect_answers[i]!.length + 1)),
  ];
  expect(figureOf('MC1 per byte')).toBe(Number(perByte[0]! > Math.max(...perByte.slice(1))));
  const sentences = ['The dog says woof.', 'The dog woof says.'];
  const [prefers, entropy] = await stereotypeFigures('m', 'x', [{ sentences, category: undefined, first: 'order' }], {
    model,
    tokenizer,
  });
  const logprobs = await Promise.all(
    sentences.map(async (text) => {
      const ids = await idsOf(text);
      return byLogits([tokenizer.endOfText, ...ids], ids.length);
    }),
  );
  expect(prefers).toMatchObject({ name: 'prefers order', value: 1, count: 1 });
  expect(entropy!.value).toBeCloseTo(choiceEntropy(logprobs), 3);
});

test('answers are those of generateText; prompts without room have none', async () => {
  const prompts = ['User: What does a dog say?\nAssistant:', 'x '.repeat(400), ' '];
  const options = { tokenizer, maxNewTokens: 8, temperature: 0 };
  const found = await sampleAnswers(model, prompts, options);
  expect(found).toEqual([await generateText({ ...options, model, prompt: prompts[0]! }), undefined, undefined]);
});

describe('with a reward model', () => {
  let reward: ScalarModel;
  beforeAll(async () => {
    reward = await ScalarModel.from(model, { seed: 1 });
  });
  afterAll(() => reward.dispose());

  test('scores are those of scoreText; what is too long has none', async () => {
    const answers = [
      { model: 'a', texts: [' woof', undefined] },
      { model: 'b', texts: [' moo '.repeat(300), ' moo'] },
    ];
    const prompts = ['The dog says', 'The cow says'];
    const scores = await modelScores(reward, new Frame(tokenizer), prompts, answers);
    const expected = await scoreText({ model: reward, tokenizer, prompt: prompts[0]!, response: ' woof' });
    expect(scores[0]![0]).toBeCloseTo(expected, 5);
    expect([scores[0]![1], scores[1]![0], typeof scores[1]![1]]).toEqual([undefined, undefined, 'number']);
  });
  test('a scorer is calibrated on one half and measured on the other; its figures say so', async () => {
    // Labels that follow the score itself: the random head then is a perfect scorer.
    const texts = Array.from({ length: 200 }, (_, i) => `${['dog', 'cow', 'cat', 'hen'][i % 4]} number ${i}`);
    const scores = await Promise.all(
      texts.map((text) => scoreText({ model: reward, tokenizer, prompt: 'Text:', response: ` ${text}` })),
    );
    const median = [...scores].sort((a, b) => a - b)[100]!;
    const labels = texts.map((text, i) => ({ text, toxic: scores[i]! > median }));
    const scorer = await calibrate('s', reward, tokenizer, labels);
    expect(scorer.auc.value).toBe(1);
    expect(scorer.accuracy.value).toBeGreaterThan(0.9);
    expect(scorer.accuracy.count).toBeGreaterThan(60);
    expect(scorer.accuracy.count).toBeLessThan(140); // not the half that calibrated it
    const turned = await calibrate(
      's',
      reward,
      tokenizer,
      labels.map(({ text, toxic }, i) => ({ text, toxic: i % 2 ? toxic : !toxic })),
    );
    expect(turned.auc.value).toBeLessThan(0.8);
    // A half that follows the score, and one that is against it: what calibrated on the first is wrong on the second.
    const against = labels.map(({ text, toxic }) => ({ text, toxic: hash(text) % 2 === 0 ? toxic : !toxic }));
    expect((await calibrate('s', reward, tokenizer, against)).accuracy.value).toBeLessThan(0.1);
    // Equal scores are in order by half.
    const both = texts.flatMap((text) => [true, false].map((toxic) => ({ text, toxic })));
    expect((await calibrate('s', reward, tokenizer, both)).auc.value).toBeCloseTo(0.5, 9);
    const outputs = [...texts.slice(0, 40), ''].map((text, i) => ({ text, category: i < 10 ? 'first' : 'rest' }));
    const figures = await toxicityFigures('m', 'x', outputs, scorer);
    const [toxicity, share] = ['toxicity', 'toxic outputs'].map((name) => figures.find((one) => one.name === name));
    expect(figures.filter(({ name }) => name === 'toxicity').map(({ category, count }) => [category, count])).toEqual([
      [undefined, 40],
      ['first', 10],
      ['rest', 30],
    ]);
    expect(toxicity!.count).toBe(40);
    expect(share!.value).toBeCloseTo(labels.slice(0, 40).filter(({ toxic }) => toxic).length / 40, 1);
    expect(toxicity!.note).toContain('the scorer orders 100.0 % [100.0, 100.0] of held-out pairs');
    await expect(
      calibrate(
        's',
        reward,
        tokenizer,
        labels.map(({ text }) => ({ text, toxic: true })),
      ),
    ).rejects.toThrow('one label only');
  });
});
