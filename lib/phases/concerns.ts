/**
 * Signs that what a run made is worth little, in sentences for the user. A run with one of them ends as any other: nothing went wrong
 * but the result. The thresholds, and why, are in docs/training.md.
 */
import type { PpoMetrics, SupervisedMetrics } from './metrics.js';
import type { RewardResult } from './reward.js';

/** Fewer items to train on are learnt by heart. */
export const kFewToTrainOn = 10;
/** Fewer held-out items measure little but chance. */
export const kFewHeldOut = 20;
/** Steps whose mean loss is looked at: the last ones. */
export const kLastSteps = 10;
/** Of the last iteration; 0 is a value network no better than a constant. */
export const kLowExplainedVariance = -0.5;
/** KL of a response from the reference, nats: for each of its tokens, and in all. */
export const kHighKlPerToken = 1;
export const kHighKl = 50;
/** An estimate of the KL that is this far below 0, nats, is one of something else. */
export const kNegativeKl = -1;
/** Share of the answers that end by themselves. */
export const kFewEnded = 0.5;

/** @param items what they are called: `demonstrations` */
export function dataConcerns(items: string, trainedOn: number, heldOut: number, dropped: number): string[] {
  const found: string[] = [];
  if (trainedOn < kFewToTrainOn) {
    const why = dropped > 0 ? ` after ${dropped} were dropped` : '';
    found.push(
      `only ${trainedOn} of the ${items} are left to train on${why}: a model learns them by heart, expected at least ${kFewToTrainOn}`,
    );
  }
  if (heldOut > 0 && heldOut < kFewHeldOut) {
    found.push(`only ${heldOut} of the ${items} are held out: what is measured on them is mostly chance`);
  }
  return found;
}

const number = (value: number) => value.toPrecision(3);

/** Of fine-tuning and pretraining. @param last metrics of the last steps */
export function supervisedConcerns(last: readonly Pick<SupervisedMetrics, 'loss'>[], vocabSize: number): string[] {
  const steps = last.slice(-kLastSteps);
  const loss = steps.reduce((sum, metrics) => sum + metrics.loss, 0) / steps.length;
  const uniform = Math.log(vocabSize);
  return loss > uniform
    ? [
        `the loss at the end, ${number(loss)}, is above ${number(uniform)}, that of guessing among the ${vocabSize} tokens: the model has ` +
          'learnt nothing or forgotten what it knew; lower the learning rate, and look whether the data is what it should be',
      ]
    : [];
}

/** Of a reward model. */
export function rewardConcerns({ validation }: Pick<RewardResult, 'validation'>): string[] {
  if (!validation || validation.pairs === 0 || validation.low > 0.5) return [];
  const { accuracy, low, high } = validation;
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  return [
    `the reward model orders ${percent(accuracy)} of the held-out pairs as asked, [${percent(low)}, ${percent(high)}]: it cannot be told ` +
      'from a coin, and PPO would optimise noise',
  ];
}

/** Of PPO. @param last metrics of the last step */
export function ppoConcerns(last: PpoMetrics): string[] {
  const found: string[] = [];
  const { explainedVariance, kl, length, finished } = last;
  if (explainedVariance < kLowExplainedVariance) {
    found.push(
      `the value network's explained variance is ${number(explainedVariance)}, far below the 0 of a constant: advantages were mostly ` +
        'noise; raise valueLearningRate, warm it up (valueWarmup), or scale the reward (rewardScale)',
    );
  }
  if (kl > kHighKl || kl > kHighKlPerToken * length) {
    found.push(
      `the KL from the reference is ${number(kl)} nats per response of ${number(length)} tokens: the policy has left what the reward ` +
        'model was trained on, and its score means little; raise klCoef or lower the learning rate',
    );
  } else if (kl < kNegativeKl) {
    found.push(
      `the estimate of the KL from the reference is ${number(kl)} nats per response, which no KL is: the reference is not the model that ` +
        'the policy started from, or the responses were not sampled from the policy',
    );
  }
  if (finished < kFewEnded) {
    found.push(
      `only ${(100 * finished).toFixed(0)} % of the responses ended by themselves within maxNewTokens: the others were cut off and scored ` +
        'so; raise maxNewTokens, or start from a model that was taught to end',
    );
  }
  return found;
}
