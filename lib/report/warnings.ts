/**
 * What a reader of a run's curves should know, in words. Each sentence says what was seen, with its numbers, and what to do.
 * docs/watch.md explains the limits.
 */
import { kHighKl, kHighKlPerToken, kLowExplainedVariance, kMostlyTied } from '../phases/concerns.js';
import { number, percent } from './html.js';
import { eachIteration, ends, median } from './series.js';
import type { Metrics } from './types.js';

/** Answers that changed their length by this factor. */
const kLonger = 1.4;
const kShorter = 0.6;
/** Explained variance that is as good as none. */
const kExplainsNothing = 0.05;
/** Entropy that is left of the first. */
const kEntropyLeft = 1 / 3;
/** Fraction of clipped tokens. */
const kMuchClipped = 0.3;
/** A gradient norm over the median of those before. */
const kSpike = 10;
/** Rise of the held-out loss above its lowest value. */
const kOverfit = 1.02;
/** Fraction of the KL's limit. */
const kNearLimit = 0.8;

/** The options of a run that set limits. */
export interface Limits {
  /** The run stops there: nats per response. */
  readonly stopAtKl?: number | undefined;
}

type Rule = (points: readonly Metrics[], limits: Limits) => string | undefined;

const ofEnds =
  (metric: string, say: (first: number, last: number) => string | undefined): Rule =>
  (points) => {
    const both = ends(eachIteration(points, metric));
    return both && say(...both);
  };

const lengthChanged = ofEnds('length', (first, last) => {
  const ratio = last / first;
  if (ratio > kShorter && ratio < kLonger) return undefined;
  const change = `answers got ${Math.round(100 * Math.abs(ratio - 1))} % ${ratio > 1 ? 'longer' : 'shorter'}, from ${number(first)} to ${number(last)} tokens`;
  return ratio > 1
    ? `${change}: a reward that likes length is easily gamed; compare answers of equal length before trusting the score`
    : `${change}: look at the samples for answers that stop too early`;
});

const valueExplainsNothing = ofEnds('explainedVariance', (_first, last) =>
  last < kExplainsNothing && last >= kLowExplainedVariance
    ? `the value network explains nothing: explained variance ${number(last)}, where 0 is a constant; raise valueLearningRate or warm it up (valueWarmup)`
    : last < kLowExplainedVariance
      ? `the value network is worse than a constant: explained variance ${number(last)}; raise valueLearningRate, warm it up (valueWarmup), or scale the reward (rewardScale)`
      : undefined,
);

const entropyFell = ofEnds('entropy', (first, last) =>
  last < kEntropyLeft * first
    ? `the entropy fell from ${number(first)} to ${number(last)} nats per token: answers become alike; raise klCoef or stop earlier`
    : undefined,
);

const muchClipped = ofEnds('clipFraction', (_first, last) =>
  last > kMuchClipped
    ? `${percent(last)} of the ratios are clipped: the steps are too large for their samples; lower the learning rate or take fewer epochs of each rollout`
    : undefined,
);

const tied = ofEnds('tiedGroups', (_first, last) =>
  last > kMostlyTied
    ? `${percent(last)} of the prompts get the same score for all their responses, which teaches nothing: use prompts of another difficulty, a finer reward, or more samplesPerPrompt`
    : undefined,
);

const sameScores = ofEnds('scoreStd', (first, last) =>
  last < 1e-3 && last < first
    ? `all responses get nearly the same score: its standard deviation fell from ${number(first)} to ${number(last)}`
    : undefined,
);

const betterUnlikelier = ofEnds('chosenLogprob', (first, last) =>
  last < 1.2 * first
    ? `preferred responses became less likely, from ${number(first)} to ${number(last)} nats: only their lead over the others grew; lower the learning rate, raise beta, or add a loss on the preferred ones`
    : undefined,
);

/** KL from the reference, in nats per response. */
const klLeft: Rule = (points, { stopAtKl }) => {
  const kl = eachIteration(points, 'kl').at(-1)?.[1];
  const length = eachIteration(points, 'length').at(-1)?.[1];
  if (kl === undefined) return undefined;
  if (stopAtKl !== undefined && kl > kNearLimit * stopAtKl)
    return `the KL is ${number(kl)} of the ${number(stopAtKl)} nats at which the run stops`;
  return kl > kHighKl || (length !== undefined && kl > kHighKlPerToken * length)
    ? `the KL from the reference is ${number(kl)} nats per response: scores mean little so far from the data of the reward model; raise klCoef or lower the learning rate`
    : undefined;
};

/** Against the best mean of a few scores in a row, and beyond what they differ by from one to the next. */
const scoreFell: Rule = (points) => {
  const scores = eachIteration(points, 'score');
  const both = ends(scores);
  if (!both) return undefined;
  const [first, last] = both;
  const count = Math.min(5, Math.ceil(scores.length / 10));
  let [best, at] = [Number.NEGATIVE_INFINITY, 0];
  for (let i = count; i <= scores.length; i++) {
    const mean = scores.slice(i - count, i).reduce((sum, [, score]) => sum + score, 0) / count;
    if (mean > best) [best, at] = [mean, scores[i - 1]![0]];
  }
  const noise = median(scores.slice(1).map(([, score], i) => Math.abs(score - scores[i]![1])));
  return best - last > 0.5 * (best - first) && best - last > 3 * noise
    ? `the score fell from ${number(best)} at step ${at} to ${number(last)}: look at the samples and the KL, and consider that checkpoint`
    : undefined;
};

const overfits: Rule = (points) => {
  const losses = eachIteration(points, 'validationLoss');
  const last = losses.at(-1);
  if (!last) return undefined;
  const lowest = losses.reduce((low, each) => (each[1] < low[1] ? each : low));
  const since = losses.length - 1 - losses.indexOf(lowest);
  return since >= 2 && last[1] > kOverfit * lowest[1]
    ? `the held-out loss rises since step ${lowest[0]}, from ${number(lowest[1])} to ${number(last[1])}: the model memorises; take fewer epochs`
    : undefined;
};

const noBetterThanChance: Rule = (points) => {
  const measured = points.findLast(({ validationLow }) => validationLow !== undefined);
  if (!measured) return undefined;
  const { validationAccuracy, validationLow, validationHigh } = measured;
  return validationLow! <= 0.5
    ? `the held-out pairs are ordered no better than by chance: ${percent(validationAccuracy!)}, 95 % interval [${percent(validationLow!)}, ${percent(validationHigh!)}]`
    : undefined;
};

const gradientSpikes: Rule = (points) => {
  const norms = eachIteration(points, 'gradNorm');
  for (let i = norms.length - 1; i >= Math.max(10, norms.length - 20); i--) {
    const usual = median(norms.slice(Math.max(0, i - 20), i).map(([, norm]) => norm));
    const [step, norm] = norms[i]!;
    if (norm > kSpike * usual)
      return `the gradient's norm was ${number(norm)} at step ${step}, ${Math.round(norm / usual)} times the usual ${number(usual)}: look at that batch's data, or lower the learning rate`;
  }
  return undefined;
};

const slower = ofEnds('percentOfPeak', (first, last) =>
  last < 0.5 * first
    ? `the speed fell from ${number(first)} to ${number(last)} % of peak: something else uses the machine`
    : undefined,
);

const rules: readonly Rule[] = [
  klLeft,
  noBetterThanChance,
  overfits,
  lengthChanged,
  scoreFell,
  entropyFell,
  valueExplainsNothing,
  muchClipped,
  tied,
  sameScores,
  betterUnlikelier,
  gradientSpikes,
  slower,
];

/** The warnings of a run so far, the gravest first; none while too little was measured. */
export function warningsOf(points: readonly Metrics[], limits: Limits = {}): string[] {
  return rules.flatMap((rule) => rule(points, limits) ?? []);
}
