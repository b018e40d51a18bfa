// A complete report with made-up numbers, only for tests of the page.
import { Random } from '../../lib/core/random.js';
import { bestOfN, fitGao } from '../../lib/report/overoptimisation.js';
import type { AlignReport, Curve, Metrics } from '../../lib/report/types.js';
import { type Outcome, wilson, winRate } from '../../lib/statistics/index.js';

const MODELS = ['base', 'base-few-shot', 'sft', 'sft-best-of-16', 'ppo', 'ppo-ptx'];
const FAMILIES = 'copy upper last reverse count where colour unknown harm howto capital sound first food'.split(' ');
const HELD_OUT = ['first', 'food'];
const PAIRS = [
  ['sft', 'base-few-shot', 0.71],
  ['sft-best-of-16', 'sft', 0.64],
  ['ppo', 'sft', 0.6],
  ['ppo-ptx', 'sft', 0.62],
  ['ppo-ptx', 'ppo', 0.51],
] as const;

let made: AlignReport | undefined;
export function exampleReport(): AlignReport {
  made ??= makeReport();
  return made;
}

function makeReport(): AlignReport {
  const random = new Random('example');
  const outcomes = (rate: number, count = 750): Outcome[] =>
    Array.from({ length: count }, () =>
      random.chance(0.4) ? 'tie' : random.chance(rate * 1.67 - 0.33) ? 'win' : 'loss',
    );
  const rates = (shift: number) =>
    PAIRS.map(([a, b, rate]) => winRate(a, b, outcomes(rate + shift), { resamples: 20 }));
  return {
    kind: 'align',
    setup: {
      seed: 1,
      command: 'npm start -- --seed 1',
      config: { seed: 1, sft: { epochs: 3, learningRate: 1e-3 }, ppo: { klCoef: 0.1, iterations: 40 } },
      device: 'cpu avx512',
      threads: 2,
      version: '0.1.0',
      finishedAt: '2026-11-23',
    },
    method: ['750 held-out prompts, 30 a family; one answer each.', 'Scores closer than 0.25 are a tie.'],
    base: [
      { name: 'repeats a five-word sequence', value: wilson(98, 100), note: 'needs 90 %' },
      { name: 'parameters', value: '1 012 352' },
    ],
    fewShot: {
      seen: 'The base has read question-and-answer pages: 5 % of its documents, half the families, three answers in ten wrong.',
      examples: [{ prompt: 'Ann: What does the dog say?\nBob:', response: ' the dog says woof' }],
    },
    curves: exampleCurves(),
    winRates: rates(0),
    winRatesGreedy: rates(-0.06),
    winRatesByCriterion: ['helpful', 'truthful', 'harmless'].flatMap((criterion) =>
      PAIRS.slice(0, 4).map(([a, b, rate]) => ({ criterion, ...winRate(a, b, outcomes(rate), { resamples: 20 }) })),
    ),
    winRatesByFamily: FAMILIES.flatMap((family) =>
      (['ppo-ptx', 'sft'] as const).map((model) => ({
        family,
        heldOut: HELD_OUT.includes(family),
        ...winRate(model, model === 'sft' ? 'base-few-shot' : 'sft', outcomes(0.6, 30), { interval: 'wilson' }),
      })),
    ),
    behaviour: MODELS.flatMap((model, i) =>
      [1, 0].map((temperature) => ({
        model,
        temperature,
        exact: wilson(Math.round(750 * (0.02 + 0.1 * i + (temperature ? 0 : 0.08))), 750),
        judge: { value: 0.2 * i - 0.3, low: 0.2 * i - 0.35, high: 0.2 * i - 0.25, count: 750 },
        length: 7 + i,
        finished: 0.99,
        distinct: 0.7,
        closings: 0.05,
        ...(i > 1 ? { kl: i > 3 ? 1.4 : 0, reward: 0.3 * i } : {}),
      })),
    ),
    conduct: MODELS.slice(1).flatMap((model, i) => [
      { name: 'makes up what the text does not say', bad: true, model, temperature: 1, rate: wilson(20 - 4 * i, 30) },
      { name: 'helps with harm', bad: true, model, temperature: 1, rate: wilson(8 - 2 * i, 30) },
    ]),
    exactByFamily: FAMILIES.flatMap((family) =>
      ['base-few-shot', 'sft', 'ppo-ptx'].map((model, i) => ({
        family,
        heldOut: HELD_OUT.includes(family),
        model,
        temperature: 1,
        exact: wilson(Math.min(30, random.int(10) + 8 * i), 30),
      })),
    ),
    rewardModel: {
      labelers: wilson(1520, 2000),
      judge: wilson(1600, 2000),
      swap: wilson(291, 300),
      knowledge: wilson(260, 480),
      notTold: wilson(24, 32),
      labelerAgreement: wilson(740, 1000),
      sftScoreStd: 0.92,
      demonstrationScoreStd: 0.81,
    },
    overoptimisation: exampleOveroptimisation(random),
    proseLoss: MODELS.map((model, i) => ({ model, loss: 1.1 + 0.01 * i })),
    samples: {
      rule: 'the first held-out prompt of every third family, at temperature 1.',
      items: FAMILIES.slice(0, 4).map((family) => ({
        prompt: `Say <again>: bear plum cow (${family})`,
        family,
        split: 'instance',
        answers: MODELS.slice(1).map((model, i) => ({ model, text: 'bear plum cow.', score: 2, exact: i > 1 })),
      })),
    },
    timing: [
      { phase: 'SFT', seconds: 61.3, tokens: 1_200_000 },
      { phase: 'rankings', seconds: 20.1, tokens: 300_000 },
      { phase: 'reward model', seconds: 40, tokens: 700_000 },
      { phase: 'PPO-ptx', seconds: 52, tokens: 900_000 },
      { phase: 'evaluation', seconds: 25 },
    ],
  };
}

export function exampleCurves(): Curve[] {
  const random = new Random('curves');
  const curve = (steps: number, at: (t: number, i: number) => Record<string, number>): Metrics[] =>
    Array.from({ length: steps }, (_, i) => ({ step: i + 1, seconds: 0.1, tokensComputed: 700, ...at(i / steps, i) }));
  const noise = () => 0.1 * random.normal();
  return [
    {
      phase: 'sft',
      points: curve(500, (t, i) => ({
        loss: 0.8 + 2 * Math.exp(-6 * t) + noise(),
        gradNorm: 1 + noise(),
        learningRate: 1e-3 * (1 - 0.9 * t),
        ...(i % 100 === 99 ? { validationLoss: 0.85 + 2 * Math.exp(-6 * t) } : {}),
      })),
    },
    {
      phase: 'reward',
      points: curve(120, (t, i) => ({
        loss: 0.7 - 0.2 * t + noise() / 2,
        accuracy: 0.5 + 0.27 * t + noise() / 2,
        pairs: 400,
        ...(i % 30 === 29 ? { validationAccuracy: 0.5 + 0.25 * t, validationLoss: 0.7 - 0.18 * t } : {}),
      })),
    },
    ...['ppo', 'ppo-ptx'].map((phase) => ({
      phase,
      points: curve(160, (t, i) => ({
        iteration: 1 + (i >> 2),
        score: 1.2 * t + noise(),
        reward: 1.1 * t + noise(),
        kl: 1.5 * t + noise() / 3,
        klK3: 1.4 * t,
        length: 8 - t,
        finished: 0.99,
        entropy: 1 - 0.4 * t,
        valueLoss: 0.3,
        explainedVariance: t,
      })),
    })),
  ];
}

function exampleOveroptimisation(random: Random): AlignReport['overoptimisation'] {
  const samples = Array.from({ length: 100 }, () => {
    const proxy = Array.from({ length: 64 }, () => random.normal());
    return { proxy, gold: proxy.map((value) => 0.4 * value + 0.8 * random.normal()) };
  });
  const points = bestOfN(samples, [1, 2, 4, 8, 16, 32, 64]);
  const policies = ['ppo', 'ppo-ptx'].flatMap((run) =>
    [0, 10, 20, 30, 40].map((iteration) => {
      const kl = 0.04 * iteration;
      return {
        run,
        iteration,
        kl,
        proxy: 1.1 * Math.sqrt(kl),
        gold: Math.sqrt(kl) * (0.5 - 0.12 * Math.log(Math.sqrt(kl) || 1)),
      };
    }),
  );
  const fits = [
    fitGao('best-of-n', 'best-of-n', points),
    ...['ppo', 'ppo-ptx'].map((run) =>
      fitGao(
        run,
        'rl',
        policies.filter((point) => point.run === run),
      ),
    ),
  ];
  return { policies, bestOfN: points, fits: fits.filter((fit) => fit !== undefined) };
}
