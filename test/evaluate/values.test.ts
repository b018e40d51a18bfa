import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { ChatTemplate, Frame } from '../../lib/data/index.js';
import { acrossLabelers, labelerFolds, summary } from '../../lib/evaluate/acrosslabelers.js';
import { type Label, readLabels } from '../../lib/evaluate/labels.js';
import { accuracyOf, orderedPairs, rankingsOf, scoreLabels, valuesReport } from '../../lib/evaluate/values.js';
import { valuesSection } from '../../lib/evaluate/valuespage.js';
import { Engine, type Estimate, LanguageModel, ScalarModel, scoreText, Tokenizer } from '../../lib/index.js';

const label = (
  item: string,
  labeler: string,
  ranks: number[],
  responses = ['x', 'y', 'z'].slice(0, ranks.length),
  group?: string,
): Label => ({
  item,
  labeler,
  group,
  category: undefined,
  responses,
  models: undefined,
  ranks,
  source: { file: 'f', line: 1, value: { prompt: item } },
});

describe('accuracy by labeler', () => {
  test('of pairs that a labeler ordered: ties are left out, equal scores count half', () => {
    const labels = [
      label('p', 'ann', [0, 1, 1]),
      label('q', 'bob', [1, 0]),
      label('r', 'bob', [0, 0]),
      label('s', 'bob', [0, 1]),
    ];
    // p: 0 before 1 and 2; scores 3, 1, 3: right, equal. q: 1 before 0; scores 2, 1: wrong. s was too long.
    const pairs = orderedPairs(labels, [[3, 1, 3], [2, 1], [5, 1], undefined]);
    expect(pairs.map(({ label: { item }, correct }) => [item, correct])).toEqual([
      ['p', 1],
      ['p', 0.5],
      ['q', 0],
    ]);
    expect(accuracyOf(pairs)).toMatchObject({ value: 0.5, count: 3 });
    expect(accuracyOf([])).toBeUndefined();
  });
  test('the same responses in another order are the same item', () => {
    const rankings = rankingsOf([
      label('p', 'ann', [0, 1], ['x', 'y']),
      label('p', 'bob', [1, 0], ['y', 'x']),
      label('p', 'cat', [0, 1], ['x', 'w']),
    ]);
    expect(rankings[0]!.item).toBe(rankings[1]!.item);
    expect(rankings[0]!.ranks).toEqual(rankings[1]!.ranks);
    expect(rankings[2]!.item).not.toBe(rankings[0]!.item);
  });
  test('equal texts of different models are different responses', () => {
    const one = { ...label('p', 'ann', [0, 1], ['x', 'x']), models: ['a', 'b'] };
    const turned = { ...label('p', 'bob', [1, 0], ['x', 'x']), models: ['b', 'a'] };
    const other = { ...label('p', 'cat', [0, 1], ['x', 'x']), models: ['a', 'c'] };
    const rankings = rankingsOf([one, turned, other]);
    expect(rankings[1]).toMatchObject({ item: rankings[0]!.item, ranks: rankings[0]!.ranks });
    expect(rankings[2]!.item).not.toBe(rankings[0]!.item);
  });
  test('labelers, groups, agreement and disagreements', () => {
    const labels = [
      label('p', 'ann', [0, 1], ['x', 'y'], 'one'),
      label('p', 'bob', [0, 1], ['x', 'y'], 'one'),
      label('p', 'cat', [1, 0], ['x', 'y'], 'two'),
      label('q', 'ann', [0, 1], ['x', 'y'], 'one'),
      label('q', 'cat', [0, 1], ['x', 'y'], 'two'),
      label('r', 'ann', [0, 0], ['x', 'y'], 'one'),
    ];
    const scores = labels.map(() => [1, 0]);
    const report = valuesReport(labels, [{ model: 'rm', scores }]);
    expect(report).toMatchObject({ prompts: 3, labels: 6 });
    expect(report.agreement!.withTies).toMatchObject({ value: 2 / 4, count: 4 });
    expect(report.alpha!.count).toBe(10);
    expect(report.accuracies[0]).toMatchObject({ model: 'rm', accuracy: { value: 4 / 5, count: 5 } });
    expect(
      report.labelers.map(({ labeler, labels: n, ties, accuracies }) => [
        labeler,
        n,
        ties,
        accuracies[0]!.accuracy.value,
      ]),
    ).toEqual([
      ['ann', 3, 1 / 3, 1],
      ['cat', 2, 0, 0.5],
      ['bob', 1, 0, 1],
    ]);
    expect(
      report.groups.map(({ group, labelers, labels: n, accuracies }) => [
        group,
        labelers,
        n,
        accuracies[0]!.accuracy.value,
      ]),
    ).toEqual([
      ['one', 2, 4, 1],
      ['two', 1, 2, 0.5],
    ]);
    expect(report.disagreements).toEqual([
      {
        prompt: 'p',
        responses: ['x', 'y'],
        votes: [
          { labeler: 'ann', ranks: [0, 1] },
          { labeler: 'bob', ranks: [0, 1] },
          { labeler: 'cat', ranks: [1, 0] },
        ],
      },
    ]);
    const page = valuesSection(report)
      .map(({ text }) => text)
      .join('');
    expect(page).toContain('80.0 %');
    expect(page).toContain('6 rankings of 3 prompts by 3 labelers');
  });
});

describe('across labelers', () => {
  const labels = Array.from({ length: 240 }, (_, i) =>
    label(`p${i % 60}`, `l${i % 7}`, [i % 2, (i + 1) % 2], ['x', 'y'], `g${i % 3}`),
  );
  test('no labeler and no prompt is on both sides of a fold, and every labeler is held out once', () => {
    const folds = labelerFolds(labels, 4, 'labeler');
    expect(folds.flatMap(({ heldOut }) => heldOut).sort()).toEqual(['l0', 'l1', 'l2', 'l3', 'l4', 'l5', 'l6']);
    for (const { heldOut, train, own, others } of folds) {
      const prompts = new Set(train.map(({ item }) => item));
      expect([...own, ...others].some(({ item }) => prompts.has(item))).toBe(false);
      expect([...train, ...own].some(({ labeler }) => heldOut.includes(labeler))).toBe(false);
      expect(others.every(({ labeler }) => heldOut.includes(labeler))).toBe(true);
      expect(Math.min(train.length, own.length, others.length)).toBeGreaterThan(0);
    }
    expect(
      labelerFolds(labels, 3, 'group')
        .map(({ heldOut }) => heldOut)
        .sort(),
    ).toEqual([['g0'], ['g1'], ['g2']]);
    expect(() => labelerFolds(labels, 8, 'labeler')).toThrow('there are 7 labelers, expected at least 8');
  });
  test('accuracies of all folds together, and their difference', () => {
    const scoresOf = (some: readonly Label[], share: number) =>
      some.map(({ ranks, item, labeler }) => {
        const right = new Random(`${item}${labeler}`).chance(share);
        return ranks.map((rank) => (right ? -rank : rank));
      });
    const tested = labelerFolds(labels, 4, 'labeler').map((fold) => ({
      fold,
      trained: fold.train.length,
      own: scoresOf(fold.own, 1),
      others: scoresOf(fold.others, 0),
    }));
    const found = summary(tested, 'labeler');
    expect([found.own!.value, found.others!.value]).toEqual([1, 0]);
    // Resampling shows no uncertainty: the ends of the two shares' intervals, as Newcombe (1998) puts them together.
    const { own, others } = found as { own: Estimate; others: Estimate };
    expect([own.low < 1, others.high > 0]).toEqual([true, true]);
    expect(found.difference).toEqual({
      value: 1,
      low: expect.closeTo(1 - Math.hypot(1 - own.low, others.high), 12),
      high: 1,
    });
    expect(found.folds).toHaveLength(4);
    expect(found.others!.count).toBe(tested.reduce((sum, { others }) => sum + others.length, 0));
  });

  let engine: Engine;
  let model: LanguageModel;
  let tokenizer: Tokenizer;
  const dir = mkdtempSync(join(tmpdir(), 'heed-values-'));
  beforeAll(async () => {
    engine = await Engine.create({ threads: 1 });
    model = await LanguageModel.load(engine, 'models/base');
    tokenizer = await Tokenizer.load('models/base');
  });
  afterAll(async () => {
    rmSync(dir, { recursive: true });
    await engine.dispose();
  });

  test('scores of labels are those of scoreText; a label that is too long has none', async () => {
    const reward = await ScalarModel.from(model, { seed: 2 });
    const some = [
      label('The dog says', 'a', [0, 1], [' woof.', ' moo.']),
      label('x '.repeat(300), 'a', [0, 1], ['x', 'y']),
    ];
    const scores = await scoreLabels(reward, new Frame(tokenizer), some);
    const expected = await scoreText({
      model: reward,
      tokenizer,
      prompt: 'The dog says',
      responses: [' woof.', ' moo.'],
    });
    expect(Array.from(scores[0]!, (x) => x.toFixed(4))).toEqual(expected.map((x) => x.toFixed(4)));
    expect(scores[1]).toBeUndefined();
    await reward.dispose();
  });
  test('prompts that are dialogues are rendered with the template', async () => {
    const reward = await ScalarModel.from(model, { seed: 2 });
    const messages = [{ role: 'user', content: 'What does the dog say?' }];
    const file = join(dir, 'labels.jsonl');
    const rows = [{ messages }, { prompt: messages }, { prompt: 'What does the dog say?' }];
    writeFileSync(
      file,
      rows.map((row) => JSON.stringify({ ...row, responses: ['woof.', 'moo.'], ranks: [0, 1] })).join('\n'),
    );
    const labels = await readLabels([file]);
    expect(labels.map(({ item }) => item)).toEqual([
      JSON.stringify(messages),
      JSON.stringify(messages),
      'What does the dog say?',
    ]);
    const frame = new Frame(tokenizer, await ChatTemplate.load('plain', tokenizer));
    const [messagesOf, promptOf, text] = await scoreLabels(reward, frame, labels);
    expect(text).toHaveLength(2);
    expect([messagesOf, promptOf]).toEqual([text, text]); // a text is a user's message
    await reward.dispose();
  });
  test('people of one mind are predicted, people of the opposite mind are predicted wrongly', async () => {
    // Group a prefers «woof», whoever asks; group b prefers «moo».
    const words = ['red', 'old', 'big', 'small', 'wet', 'kind', 'good', 'sad', 'tall', 'fast', 'warm', 'cold'];
    const opinions = words.flatMap((word, w) =>
      ['a1', 'a2', 'b1', 'b2'].map((labeler) =>
        label(
          `The ${word} dog says`,
          labeler,
          (labeler[0] === 'a') === (w % 2 === 0) ? [0, 1] : [1, 0],
          w % 2 === 0 ? [' woof.', ' moo.'] : [' moo.', ' woof.'],
          labeler[0],
        ),
      ),
    );
    const found = await acrossLabelers(opinions, {
      model,
      tokenizer,
      folds: 2,
      by: 'group',
      epochs: 8,
      batchSize: 4,
      learningRate: 1e-3,
    });
    expect(found.by).toBe('group');
    expect(found.own!.value).toBeGreaterThan(0.9);
    expect(found.others!.value).toBeLessThan(0.1);
    expect(found.difference!.low).toBeGreaterThan(0.5);
    expect(found.folds.map(({ heldOut }) => heldOut)).toEqual([['a'], ['b']]);
  }, 60_000);
});
