/** The final evaluation: the judge compares all models on the same held-out prompts. */

import { keyedSeed } from '../phases/order.js';
import { meanLoss } from '../phases/supervised.js';
import { bestOfN, fitGao } from '../report/overoptimisation.js';
import type { AlignReport, GaoFit, Overoptimisation, PolicyPoint } from '../report/types.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { fewShot, heldOutPrompts, pretrainDocuments, TIE_LIMIT, type WorldPrompt } from '../world/index.js';
import { type Answer, ask, klFrom, scoreAnswers } from './answers.js';
import { probeRates, proseSequences } from './base.js';
import {
  type Answered,
  behaviourOf,
  conductOf,
  exactByFamily,
  overallWinRates,
  SAMPLE_RULE,
  samplesOf,
  winRatesByCriterion,
  winRatesByFamily,
} from './evaluate.js';
import type { Job } from './stages.js';

export interface Contestants {
  readonly base: LanguageModel;
  readonly sft: LanguageModel;
  readonly reward: ScalarModel;
  readonly policies: readonly { readonly name: string; readonly model: LanguageModel }[];
  /** Scores of reward model and judge in the course of PPO. */
  readonly points: readonly PolicyPoint[];
}

type Evaluated = Omit<AlignReport, 'kind' | 'setup' | 'curves' | 'rewardModel' | 'timing'>;

export async function evaluate(job: Job, c: Contestants): Promise<Evaluated> {
  const { config, tokenizer, log, signal } = job;
  const { perFamily, bestOf, proseDocuments } = config.evaluation;
  const prompts = heldOutPrompts({ seed: config.seed, perFamily });
  const bar = log.stage('evaluation', 2 * (c.policies.length + 3) + 1);
  let asked = 0;

  const answersOf = async (model: LanguageModel, temperature: number, fewShotBase: boolean) => {
    const answers = await ask(model, tokenizer, prompts, {
      temperature,
      maxNewTokens: config.ppo.maxNewTokens,
      seed: keyedSeed(config.seed, 'evaluation'),
      fewShot: fewShotBase,
      signal,
    });
    bar.update(++asked);
    return answers;
  };
  const tuned = [{ name: 'sft', model: c.sft }, ...c.policies];
  const answered = async (temperature: number): Promise<Answered[]> => {
    const models: Answered[] = [];
    for (const [model, shots] of [
      ['base', false],
      ['base-few-shot', true],
    ] as const) {
      const answers = await answersOf(c.base, temperature, shots);
      models.push({ model, temperature, answers: answers.flat() });
    }
    for (const { name, model } of tuned) {
      const answers = await answersOf(model, temperature, false);
      const scores = (await scoreAnswers(c.reward, tokenizer, prompts, answers)).flat();
      const kl = temperature === 1 ? await klFrom(c.sft, tokenizer, prompts, answers) : undefined;
      models.push({
        model: name,
        temperature,
        answers: answers.flat(),
        reward: scores.reduce((sum, x) => sum + x, 0) / scores.length,
        ...(kl === undefined ? {} : { kl }),
      });
    }
    return models;
  };
  const sampled = await answered(1);
  const greedy = await answered(0);

  const many = await ask(c.sft, tokenizer, prompts, {
    temperature: 1,
    samples: bestOf,
    maxNewTokens: config.ppo.maxNewTokens,
    seed: keyedSeed(config.seed, 'best of'),
    signal,
  });
  const manyScores = await scoreAnswers(c.reward, tokenizer, prompts, many);
  bar.update(++asked);
  bar.end();
  const sizes = [1, 2, 4, 8, 16, 32, 64].filter((n) => n < bestOf).concat(bestOf);
  const best = bestOfN(
    many.map((answers, i) => ({ proxy: manyScores[i]!, gold: answers.map(({ judgement }) => judgement.score) })),
    sizes,
  );
  sampled.push({
    model: `sft-best-of-${bestOf}`,
    role: 'sft-best-of',
    temperature: 1,
    answers: many.map((answers, i) => highest(answers, manyScores[i]!)),
    reward: manyScores.reduce((sum, scores) => sum + Math.max(...scores), 0) / manyScores.length,
    kl: best.at(-1)!.kl,
  });

  const heldOutProse = await proseSequences(
    tokenizer,
    pretrainDocuments({ seed: `evaluation/${config.seed}`, absence: 'often', count: proseDocuments }),
  );
  const proseLoss: { model: string; loss: number }[] = [];
  for (const { name, model } of [{ name: 'base', model: c.base }, ...tuned]) {
    proseLoss.push({ model: name, loss: await meanLoss(model, heldOutProse, { signal }) });
  }
  const probes = await probeRates(c.base, tokenizer, signal);
  const fits = [
    fitGao('best-of-n', 'best-of-n', best),
    ...c.policies.map(({ name }) =>
      fitGao(
        name,
        'rl',
        c.points.filter(({ run }) => run === name),
      ),
    ),
  ];
  const overoptimisation: Overoptimisation = {
    policies: c.points,
    bestOfN: best,
    fits: fits.filter((fit): fit is GaoFit => fit !== undefined),
  };

  return {
    method: [
      `The judge is a program that knows the truth of every prompt and shares no code with the labelers; it saw ${prompts.length} held-out prompts, ` +
        'one answer per model to each: unseen instances, one unseen phrasing of every family, and two unseen families.',
      `Two answers are a tie when the judge's scores differ by less than ${TIE_LIMIT}; a tie is half a win for each.`,
      'Intervals are 95 %: bootstrap over prompts, Wilson for one family and for shares. They do not include the variation between seeds.',
    ],
    base: [
      { name: 'parameters', value: parameterCount(c.base) },
      ...[...probes].map(([kind, value]) => ({
        name: `probe: ${kind}`,
        value,
        note: 'fraction correct, greedy decoding, 100 probes',
      })),
    ],
    fewShot: {
      seen:
        "Question-and-answer pages in its prose, under other speakers' names than the frame's and in other phrasings than the test's, " +
        'some of them wrong: see lib/world/README.md for their share.',
      examples: fewShotExamples(prompts[0]!),
    },
    winRates: overallWinRates(sampled),
    winRatesGreedy: overallWinRates(greedy),
    winRatesByCriterion: winRatesByCriterion(sampled),
    winRatesByFamily: winRatesByFamily(sampled, prompts),
    behaviour: [...sampled, ...greedy].map(behaviourOf),
    conduct: [...sampled, ...greedy].flatMap((model) => conductOf(model, prompts)),
    exactByFamily: [...sampled, ...greedy].flatMap((model) => exactByFamily(model, prompts)),
    overoptimisation,
    proseLoss,
    samples: { rule: SAMPLE_RULE, items: samplesOf(sampled, prompts) },
  };
}

function highest(answers: readonly Answer[], scores: readonly number[]): Answer {
  return answers[scores.indexOf(Math.max(...scores))]!;
}

const parameterCount = (model: LanguageModel) =>
  model.parameters().reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);

/** The example exchanges before the question, as prompts and responses. */
function fewShotExamples(prompt: WorldPrompt): { prompt: string; response: string }[] {
  const lines = fewShot(prompt).split('\n').slice(0, -2);
  return Array.from({ length: Math.floor(lines.length / 2) }, (_, i) => ({
    prompt: lines[2 * i]!,
    response: lines[2 * i + 1]!,
  }));
}
