import { describe, expect, test } from '@jest/globals';
import { byline } from '../../lib/report/phase.js';
import { changesOf, resultFacts, verdictOf } from '../../lib/report/verdict.js';

describe('the verdict', () => {
  const steps = (...rows: Record<string, number>[]) => rows.map((row, i) => ({ step: i + 1, ...row }));

  test('of a reward model has the interval, and is decided by it', () => {
    const points = steps({ loss: 0.7, accuracy: 0.5 });
    const of = (low: number, high: number) =>
      verdictOf('reward', points, { validation: { accuracy: 0.6, low, high, pairs: 300 } });
    expect(of(0.55, 0.65)).toBe(
      'The reward model orders 60.0 % [55.0, 65.0] of the held-out pairs as the labelers did.',
    );
    expect(of(0.5, 0.7)).toMatch(/, no better than chance\.$/);
    expect(of(0.45, 0.55)).toMatch(/, no better than chance\.$/);
    expect(of(0.3, 0.45)).toMatch(/, worse than chance\.$/);
    const running = steps({ validationAccuracy: 0.6, validationLow: 0.4, validationHigh: 0.7, validationPairs: 40 });
    expect(verdictOf('reward', running)).toMatch(/60\.0 % \[40\.0, 70\.0\].* no better than chance\.$/);
    expect(verdictOf('reward', points)).toMatch(/50\.0 % of its last training pairs.*; nothing was held out\.$/);
  });

  test('of fine-tuning is the held-out loss, if there is one', () => {
    expect(verdictOf('sft', steps({ loss: 3, validationLoss: 3.5 }, { loss: 2, validationLoss: 2.5 }))).toBe(
      'The held-out loss fell from 3.50 to 2.50 nats per token: a perplexity of 12.2.',
    );
    expect(verdictOf('sft', steps({ loss: 2 }, { loss: 3 }))).toMatch(
      /^The training loss rose from 2 to 3 .*held out\.$/,
    );
  });

  test('of a policy is its score and KL', () => {
    expect(verdictOf('ppo', steps({ score: -1, kl: 0 }, { score: 1.5, kl: 6.25 }))).toBe(
      'The score rose from -1 to 1.50 at a KL of 6.25 nats per response.',
    );
    expect(verdictOf('grpo', steps({ score: 1, kl: 0 }, { score: 1, kl: 0 }))).toMatch(/^The score stayed at 1 /);
  });

  test('does not exist before the first step', () => expect(verdictOf('sft', [])).toBeUndefined());
});

test('changes have words, not keys', () => {
  const points = [
    { step: 1, iteration: 1, score: 0, reward: 0, kl: 0, length: 20, finished: 0.5, learningRate: 1 },
    { step: 2, iteration: 2, score: 2, reward: 1, kl: 4, length: 30, finished: 0.9, learningRate: 1 },
  ];
  expect(changesOf('ppo', points)).toEqual([
    { name: 'Score: score', first: 0, last: 2, share: undefined },
    { name: 'Score: minus the KL penalty', first: 0, last: 1, share: undefined },
    { name: 'KL from SFT: k1, nats per response', first: 0, last: 4, share: undefined },
    { name: 'Response length, tokens', first: 20, last: 30, share: undefined },
    { name: 'Finished', first: 0.5, last: 0.9, share: true },
  ]);
});

test('results have words, and intervals together', () => {
  expect(
    resultFacts({
      steps: 9,
      validation: { accuracy: 0.6, low: 0.5, high: 0.7, pairs: 300, loss: 0.6 },
      offsetFrom: 'demonstrations',
      stopped: false,
      someNewNumber: 3,
    }),
  ).toEqual([
    { name: 'held out: accuracy', value: { value: 0.6, low: 0.5, high: 0.7, count: 300 } },
    { name: 'held out: pairs', value: 300 },
    { name: 'held out: loss', value: 0.6 },
    { name: 'scores are zero on average for', value: 'demonstrations' },
    { name: 'stopped by the KL limit', value: 'no' },
    { name: 'some new number', value: 3 },
  ]);
});

test('the line under the title names model, date and version', () => {
  expect(
    byline({ run: 'ppo', model: 'runs/sft/model', command: 'ppo', version: '0.1.0', date: '2026-11-27T09:05:07.000Z' }),
  ).toBe('from runs/sft/model · 27 Nov 2026, 09:05 UTC · heed ppo, version 0.1.0');
  expect(byline({ run: 'ppo' })).toBe('');
});
