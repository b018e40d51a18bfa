/** Options of the main job, with defaults found by experiment on the embedded world (docs/results.md). */
import { count, number, ppoOptions, rewardOptions, sftOptions, text, withDefault } from '../config/index.js';
import { resolveSections, type SectionValues } from '../config/nested.js';

const pick = <T extends object, const K extends keyof T>(table: T, ...keys: K[]) =>
  Object.fromEntries(keys.map((key) => [key, table[key]])) as Pick<T, K>;

/** Options of `heed align`. Everything random after the base is derived from `seed`. */
export const alignSections = {
  seed: sftOptions.seed,
  base: text('model folder of the base [the one shipped with heed]', 'DIR'),
  sft: {
    demonstrations: count('demonstrations to train on', { default: 24_000 }),
    validation: count('held-out demonstrations', { default: 400 }),
    ...pick(sftOptions, 'batchSize'),
    epochs: withDefault(sftOptions.epochs, 1),
    learningRate: withDefault(sftOptions.learningRate, 1e-3),
    dropout: withDefault(sftOptions.dropout, 0),
    ptxCoef: withDefault(sftOptions.ptxCoef, 0.3),
    ptxTokens: withDefault(sftOptions.ptxTokens, 384),
  },
  rankings: {
    prompts: count('prompts whose responses are ranked', { default: 12_000 }),
    k: count('responses per prompt, at most', { min: 2, max: 9, default: 6 }),
    samples: count('of these, responses sampled from the SFT model', { default: 4 }),
    temperature: number('sampling temperature', { above: 0, default: 0.8 }),
    heldOut: count('held-out rankings', { default: 300 }),
  },
  reward: {
    ...pick(rewardOptions, 'shuffleLabels'),
    epochs: withDefault(rewardOptions.epochs, 3),
    batchSize: withDefault(rewardOptions.batchSize, 32),
    learningRate: withDefault(rewardOptions.learningRate, 1e-3),
    normalize: withDefault(rewardOptions.normalize, 'meanStd'),
  },
  ppo: {
    ...pick(ppoOptions, 'innerEpochs', 'clipRange', 'lambda', 'valueWarmup', 'ptxCoef', 'ema'),
    iterations: withDefault(ppoOptions.iterations, 45),
    batchSize: withDefault(ppoOptions.batchSize, 256),
    minibatches: withDefault(ppoOptions.minibatches, 4),
    learningRate: withDefault(ppoOptions.learningRate, 3e-4),
    valueLearningRate: withDefault(ppoOptions.valueLearningRate, 1e-3),
    klCoef: withDefault(ppoOptions.klCoef, 0.05),
    valueClipRange: withDefault(ppoOptions.valueClipRange, 1),
    maxNewTokens: withDefault(ppoOptions.maxNewTokens, 32),
    prompts: count('prompts to sample responses to', { default: 13_000 }),
    ptxTokens: withDefault(ppoOptions.ptxTokens, 384),
  },
  evaluation: {
    perFamily: count('held-out prompts per family', { default: 32 }),
    bestOf: count('samples for best-of-n', { default: 16 }),
    every: count('iterations of PPO between measurements of proxy reward and judge', { default: 5 }),
    perFamilyEvery: count('prompts per family in such a measurement', { default: 8 }),
    proseDocuments: count('documents on which the loss on prose is measured', { default: 300 }),
  },
} as const;

/** Options of {@link align}, defaults filled in. */
export type AlignConfig = SectionValues<typeof alignSections>;

/** A program's options: sections that hold only what differs from the defaults. */
export function alignConfig(values: Readonly<Record<string, unknown>> = {}): AlignConfig {
  return resolveSections(alignSections, [{ where: 'align', values }]);
}
