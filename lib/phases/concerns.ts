/**
 * Warnings that a run's result is probably poor. They do not make the run fail. docs/training.md explains the thresholds.
 */
import type { EpisodeMetrics, OfflineMetrics, PpoMetrics, SupervisedMetrics } from './metrics.js';
import type { OfflineResult } from './offline.js';
import type { RewardResult } from './reward.js';

/** Fewer training items are memorised. */
export const kFewToTrainOn = 10;
/** Measurements on fewer held-out items are mostly noise. */
export const kFewHeldOut = 20;
/** Number of last steps over which the loss is averaged. */
export const kLastSteps = 10;
/** Fraction of prompts whose responses all have the same score. */
export const kMostlyTied = 0.8;
/** Fraction of comparisons in order that is not above chance. */
export const kChance = 0.5;
/** Explained variance of the last iteration; 0 is no better than a constant. */
export const kLowExplainedVariance = -0.5;
/** Limits of the KL from the reference, nats: per token and per response. */
export const kHighKlPerToken = 1;
export const kHighKl = 50;
/** A KL estimate below this, nats, means that the reference or the sampling does not match. */
export const kNegativeKl = -1;
/** Fraction of the responses that end by themselves. */
export const kFewEnded = 0.5;

/** @param items their name in messages: `demonstrations` */
export function dataConcerns(items: string, trainedOn: number, heldOut: number, dropped: number): string[] {
  const found: string[] = [];
  if (trainedOn < kFewToTrainOn) {
    const why = dropped > 0 ? ` after ${dropped} were dropped` : '';
    found.push(
      `only ${trainedOn} of the ${items} are left to train on${why}, expected at least ${kFewToTrainOn}: the model will memorise them`,
    );
  }
  if (heldOut > 0 && heldOut < kFewHeldOut) {
    found.push(`only ${heldOut} of the ${items} are held out: measurements on them are mostly noise`);
  }
  return found;
}

const number = (value: number) => value.toPrecision(3);

/** For fine-tuning and pretraining. @param last metrics of the last steps */
export function supervisedConcerns(last: readonly Pick<SupervisedMetrics, 'loss'>[], vocabSize: number): string[] {
  const steps = last.slice(-kLastSteps);
  const loss = steps.reduce((sum, metrics) => sum + metrics.loss, 0) / steps.length;
  const uniform = Math.log(vocabSize);
  return loss > uniform
    ? [
        `the loss at the end, ${number(loss)}, is above ${number(uniform)}, that of a uniform guess among ${vocabSize} tokens: the model has ` +
          'learnt nothing or forgotten what it knew; lower the learning rate and check the data',
      ]
    : [];
}

/** For a reward model. */
export function rewardConcerns({ validation }: Pick<RewardResult, 'validation'>): string[] {
  if (!validation || validation.pairs === 0 || validation.low > 0.5) return [];
  const { accuracy, low, high } = validation;
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  return [
    `the reward model orders ${percent(accuracy)} of the held-out pairs correctly, 95 % interval [${percent(low)}, ${percent(high)}]: no better ` +
      'than chance, so PPO would optimise noise',
  ];
}

/** For objectives on given responses. @param last metrics of the last steps */
export function offlineConcerns(
  { validation }: Pick<OfflineResult, 'validation'>,
  last: readonly Pick<OfflineMetrics, 'accuracy'>[],
): string[] {
  const steps = last.slice(-kLastSteps);
  const trained = steps.reduce((sum, { accuracy }) => sum + accuracy, 0) / steps.length;
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const advice = 'no better than chance: raise the learning rate, train longer, or check the labels';
  if (!validation)
    return trained <= kChance
      ? [`the model orders only ${percent(trained)} of the last comparisons as the labels do, ${advice}`]
      : [];
  const { accuracy, low, high } = validation;
  return low <= kChance
    ? [
        `the model orders ${percent(accuracy)} of the held-out comparisons as the labels do, 95 % interval [${percent(low)}, ${percent(high)}], ${advice}`,
      ]
    : [];
}

/** For PPO. @param last metrics of the last step */
export function ppoConcerns(last: PpoMetrics): string[] {
  const found: string[] = [];
  const { explainedVariance } = last;
  if (explainedVariance < kLowExplainedVariance) {
    found.push(
      `the value network's explained variance is ${number(explainedVariance)}, far below 0, that of a constant: advantages were mostly ` +
        'noise; raise valueLearningRate, warm it up (valueWarmup), or scale the reward (rewardScale)',
    );
  }
  found.push(...episodeConcerns(last));
  return found;
}

/** For GRPO and RLOO. @param last metrics of the last step */
export function onlineConcerns(last: EpisodeMetrics & { readonly tiedGroups: number }): string[] {
  const found: string[] = [];
  if (last.tiedGroups > kMostlyTied) {
    found.push(
      `the responses to ${(100 * last.tiedGroups).toFixed(0)} % of the prompts all had the same score, and taught nothing: use easier or harder ` +
        'prompts, a finer reward, or more samplesPerPrompt',
    );
  }
  return [...found, ...episodeConcerns(last)];
}

function episodeConcerns({ kl, length, finished }: EpisodeMetrics): string[] {
  const found: string[] = [];
  if (kl > kHighKl || kl > kHighKlPerToken * length) {
    found.push(
      `the KL from the reference is ${number(kl)} nats per response of ${number(length)} tokens: the policy has left the data that the reward ` +
        'model was trained on, so its scores mean little; raise klCoef or lower the learning rate',
    );
  } else if (kl < kNegativeKl) {
    found.push(
      `the estimate of the KL from the reference is ${number(kl)} nats per response, but a KL is at least 0: the reference is not the model that ` +
        'the policy started from, or the responses were not sampled from the policy',
    );
  }
  if (finished < kFewEnded) {
    found.push(
      `only ${(100 * finished).toFixed(0)} % of the responses ended by themselves within maxNewTokens: the others were cut off and scored ` +
        'as such; raise maxNewTokens, or start from a model that was trained to end its responses',
    );
  }
  return found;
}
