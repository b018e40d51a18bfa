/**
 * Phase 2 of InstructGPT: the reward model (Ouyang et al. 2022, §3.5 eq. 1 and app. C.2).
 *
 * All pairs of a prompt are one batch element: the prompt and its K responses are computed once; the loss is the mean of
 * -log σ(r_better - r_worse) over the compared pairs, then over prompts. Ties are not compared. At the end the offset, which
 * the loss does not determine, is set so that demonstrations score 0 on average.
 */
import { join } from 'node:path';
import { fillIn, rewardOptions } from '../config/index.js';
import { Random } from '../core/random.js';
import { type Items, mapItems, type RankedResponses, select, type TrainSequence } from '../data/index.js';
import { packScores, type Tree } from '../runtime/batch.js';
import type { ScalarModel } from '../runtime/model.js';
import { DivergenceError, digest, type PhaseOptions, type PhaseSteps, runSteps, takeStep } from './loop.js';
import type { PairAccuracy, RewardMetrics, StepMetrics } from './metrics.js';
import { learningRates, type OptimizerOptions, resolveOptimizer, trainerOptions } from './optimizer.js';
import { batchesOf } from './order.js';
import { comparePairs, hasPair, type Pairs, pairAccuracy } from './pairs.js';
import { moments } from './ppo/advantages.js';
import { checkLengths, contents as rows } from './supervised.js';

export interface RewardOptions extends PhaseOptions, OptimizerOptions {
  /** Trained in place: `ScalarModel.from(sft)`, or a reward model to train further. */
  readonly model: ScalarModel;
  readonly rankings: Items<RankedResponses>;
  /** Held-out rankings: accuracy and loss are measured every `validateEvery` steps and at the end. */
  readonly validation?: Items<RankedResponses> | undefined;
  /** Optimizer steps between validations. Default 0: only at the end. */
  readonly validateEvery?: number | undefined;
  /** Demonstrations, prompt and response, whose mean score is shifted to 0. Default: the best-ranked responses of `rankings`. */
  readonly demonstrations?: Items<TrainSequence> | undefined;
  /** Samples of PPO's initial policy, for the scale of the scores: their mean and standard deviation are reported. */
  readonly samples?: Items<TrainSequence> | undefined;
  /**
   * Normalisation of the scores after training. `'bias'`, the default (app. C.2), shifts them so that demonstrations score 0 on
   * average. `'meanStd'` also computes the scale at which `samples` (else the demonstrations) have a standard deviation of 1; the
   * model is not scaled: pass {@link RewardResult.scale} to PPO as `rewardScale`. `'none'` does nothing.
   */
  readonly normalize?: 'bias' | 'meanStd' | 'none' | undefined;
  /** Prompts per step. Default 64. */
  readonly batchSize?: number | undefined;
  /** Default 1: more overfits quickly (app. C.2). */
  readonly epochs?: number | undefined;
  /** Optimizer steps; overrides `epochs`. */
  readonly steps?: number | undefined;
  /** Default 9e-6. */
  readonly learningRate?: number | undefined;
  /** Default 'cosine', to 10 %. */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 1e-5 (Ziegler et al. 2019), in the bias-corrected form. */
  readonly adamEps?: number | undefined;
  /** false keeps the rankings' order. Default true: reshuffled in every epoch. */
  readonly shuffle?: boolean | undefined;
  /** Control run: shuffles the ranks of each ranking, which leaves nothing to learn. Default false. */
  readonly shuffleLabels?: boolean | undefined;
}

/** The result of reward modelling. */
export interface RewardResult {
  readonly steps: number;
  /** Number of rankings skipped because they are all ties. */
  readonly skipped: number;
  /** On the held-out rankings. */
  readonly validation?: PairAccuracy & { readonly loss: number };
  /** The offset added to every score at the end. */
  readonly offset: number;
  /** The sequences that the offset was computed from. */
  readonly offsetFrom: 'demonstrations' | 'best-ranked' | 'none';
  /** PPO's `rewardScale`: 1 unless `normalize` is 'meanStd'. */
  readonly scale: number;
  /** Standard deviation of the scores whose mean was shifted to 0. */
  readonly demonstrationStd?: number;
  /** Mean and standard deviation of the scores of `samples`, after the offset. */
  readonly sampleMean?: number;
  readonly sampleStd?: number;
}

/** Checks the options and counts the steps. @throws RangeError naming an invalid value */
export function planReward(o: Omit<RewardOptions, 'model'>) {
  const resolved = fillIn(rewardOptions, o);
  const { batchSize, shuffle, seed, shuffleLabels } = resolved;
  checkRankings(o.rankings);
  const labelled = shuffleLabels ? mapItems(o.rankings, (ranking, i) => dealRanks(ranking, seed, i)) : o.rankings;
  const untied: number[] = [];
  for (let i = 0; i < labelled.length; i++) if (hasPair(labelled.at(i)!.ranks)) untied.push(i);
  const rankings = select(labelled, untied);
  if (labelled.length > 0 && rankings.length === 0) {
    throw new RangeError(`all ${labelled.length} rankings are ties, expected at least one pair to compare`);
  }
  const batches = batchesOf({ count: rankings.length, batchSize, seed, shuffle, stream: 'reward' });
  return {
    resolved,
    rankings,
    skipped: labelled.length - rankings.length,
    batches,
    totalSteps: resolved.steps ?? batches.steps(resolved.epochs),
    optimizer: resolveOptimizer(rewardOptions, o),
    options: { batchSize, shuffle, shuffleLabels },
  };
}

/**
 * Trains `model` in place, one optimizer step per metrics object. With `run`, it continues from the newest
 * checkpoint, writes metrics and checkpoints, and saves the final model as RUN/model and the result as RUN/result.json.
 *
 * @throws DivergenceError when a score or gradient is not finite; RangeError for an invalid option
 */
export async function* trainReward(o: RewardOptions): AsyncGenerator<RewardMetrics & StepMetrics, RewardResult, void> {
  const { model, run, signal, validation = [] } = o;
  const { resolved, rankings, skipped, batches, totalSteps, optimizer, options } = planReward(o);
  const { seed, validateEvery, normalize } = resolved;
  const { engine } = model;
  const { maxTokens } = engine.info; // determines the passes, and thus rounding
  checkRankings(validation);
  checkFits(model, o.rankings, validation);
  checkLengths('demonstration', o.demonstrations ?? [], model);
  checkLengths('sample', o.samples ?? [], model);
  const rate = learningRates(optimizer, totalSteps);
  const data = await digest(
    signal,
    contents(rankings),
    contents(validation),
    rows(o.demonstrations ?? []),
    rows(o.samples ?? []),
  );
  const trainer = await model.trainer(trainerOptions(optimizer, resolved));
  let held: RewardResult['validation'];

  const phase: PhaseSteps<RewardMetrics> = {
    name: 'reward',
    total: totalSteps,
    options: { ...options, seed, optimizer, totalSteps, validateEvery, normalize, maxTokens },
    data,
    engine,

    async update(step) {
      const picked = batches.at(step).map((i) => rankings.at(i)!);
      const batch = packScores(picked);
      const ranks = Int32Array.from(picked.flatMap((ranking) => [...ranking.ranks]));
      const { cuGroups } = batch;
      const { scores, groupStats } = await trainer.reward(batch, { ranks, cuGroups, scale: 1 / picked.length, signal });
      const sums = { loss: 0, pairs: 0, correct: 0 };
      picked.forEach((_, g) => {
        sums.loss += groupStats[3 * g]!;
        sums.pairs += groupStats[3 * g + 1]!;
        sums.correct += groupStats[3 * g + 2]!;
      });
      if (!Number.isFinite(sums.loss)) throw new DivergenceError(step + 1, `the loss is ${sums.loss}`);
      const learningRate = rate(step);
      const { gradNorm } = await takeStep(trainer, step, { learningRate, maxGradNorm: optimizer.maxGradNorm });
      const tied = step === 0 && skipped > 0;
      return {
        epoch: (step + 1) / batches.steps(1),
        loss: sums.loss / picked.length,
        accuracy: sums.correct / sums.pairs,
        prompts: picked.length,
        pairs: sums.pairs,
        skipped,
        scoreStd: Math.sqrt(moments(scores).variance),
        gradNorm,
        learningRate,
        ...(tied ? { warnings: [`skipped ${skipped} rankings that are all ties`] } : {}),
      };
    },

    async after(step) {
      const due = step + 1 === totalSteps || (validateEvery > 0 && (step + 1) % validateEvery === 0);
      if (!due || validation.length === 0) return {};
      held = await heldOut(model, validation, o);
      return {
        validationLoss: held.loss,
        validationAccuracy: held.accuracy,
        validationLow: held.low,
        validationHigh: held.high,
        validationPairs: held.pairs,
      };
    },

    async save(dir) {
      await model.save(join(dir, 'model'));
      await trainer.saveState(join(dir, 'model.optimizer.safetensors'));
    },

    async restore({ dir }, progress) {
      await model.restore(join(dir, 'model'));
      await trainer.loadState(join(dir, 'model.optimizer.safetensors'));
      held = (progress.held as RewardResult['validation'] | null) ?? undefined;
    },

    progress: () => ({ held: held ?? null }),
  };

  try {
    yield* runSteps(phase, o);
    const result: RewardResult = {
      steps: totalSteps,
      skipped,
      ...(held ? { validation: held } : {}),
      ...(await setOffset(model, rankings, normalize, o)),
    };
    if (run) {
      await model.save(
        join(run.dir, 'model'),
        run.tokenizerFrom === undefined ? {} : { tokenizerFrom: run.tokenizerFrom },
      );
      await run.writeJson('result.json', result);
    }
    return result;
  } finally {
    await trainer.dispose();
  }
}

/** Loss and pair accuracy of a model on rankings it was not trained on. */
export async function heldOut(
  model: ScalarModel,
  rankings: Items<RankedResponses>,
  options: PhaseOptions = {},
): Promise<PairAccuracy & { loss: number }> {
  const scores = await scoreTrees(model, rankings, options);
  const pairs: Pairs[] = [...mapItems(rankings, ({ ranks }, i) => comparePairs(scores[i]!, ranks))];
  const compared = pairs.filter((p) => p.pairs > 0);
  const loss = compared.reduce((sum, p) => sum + p.loss, 0) / Math.max(1, compared.length);
  return { ...pairAccuracy(pairs), loss };
}

/** The scores of each tree's responses; prompts are computed once. */
export async function scoreTrees(
  model: ScalarModel,
  trees: Items<Tree>,
  { signal, onProgress }: PhaseOptions = {},
): Promise<Float32Array[]> {
  const scores: Float32Array[] = [];
  const kTreesOfCall = 256; // a few at a time, so that an abort does not wait for all of them
  for (let begin = 0; begin < trees.length; begin += kTreesOfCall) {
    const count = Math.min(kTreesOfCall, trees.length - begin);
    const batch = packScores(Array.from({ length: count }, (_, i) => trees.at(begin + i)!));
    const all = await model.scores(batch, { signal });
    for (let g = 0; g + 1 < batch.cuGroups.length; g++) {
      scores.push(all.slice(batch.cuGroups[g], batch.cuGroups[g + 1]));
    }
    onProgress?.({ doing: 'scoring', done: scores.length, total: trees.length });
  }
  return scores;
}

async function setOffset(
  model: ScalarModel,
  rankings: Items<RankedResponses>,
  normalize: NonNullable<RewardOptions['normalize']>,
  o: RewardOptions,
): Promise<Omit<RewardResult, 'steps' | 'skipped' | 'validation'>> {
  const { demonstrations = [], samples = [] } = o;
  const whole = ({ tokens }: TrainSequence): Tree => ({ prompt: [], responses: [tokens] });
  const scoresOf = async (trees: Items<Tree>) => (await scoreTrees(model, trees, o)).flatMap((scores) => [...scores]);
  const given = demonstrations.length > 0;
  const centre = moments(await scoresOf(given ? mapItems(demonstrations, whole) : mapItems(rankings, bestRanked)));
  const offset = normalize === 'none' ? 0 : -centre.mean;
  if (offset !== 0) await model.shiftScores(offset);
  const spread = samples.length > 0 ? moments(await scoresOf(mapItems(samples, whole))) : undefined;
  const variance = (spread ?? centre).variance;
  return {
    offset,
    offsetFrom: normalize === 'none' ? 'none' : given ? 'demonstrations' : 'best-ranked',
    scale: normalize === 'meanStd' && variance > 0 ? 1 / Math.sqrt(variance) : 1,
    demonstrationStd: Math.sqrt(centre.variance),
    ...(spread ? { sampleMean: spread.mean, sampleStd: Math.sqrt(spread.variance) } : {}),
  };
}

function bestRanked({ prompt, responses, ranks }: RankedResponses): Tree {
  const best = Math.min(...ranks);
  return { prompt, responses: responses.filter((_, k) => ranks[k] === best) };
}

/** Checks before the first step that every ranking fits into a pass. */
function checkFits(
  { config, engine }: ScalarModel,
  rankings: Items<RankedResponses>,
  validation: Items<RankedResponses>,
): void {
  const { maxTokens } = engine.info;
  const check = (what: string, { prompt, responses }: RankedResponses) => {
    const longest = prompt.length + responses.reduce((most, { length }) => Math.max(most, length), 0);
    if (longest > config.maxPositions) {
      throw new RangeError(
        `${what} has a response that ends at token ${longest}, expected at most the model's ${config.maxPositions} positions`,
      );
    }
    const all = responses.reduce((sum, { length }) => sum + length, prompt.length);
    if (all > maxTokens) {
      throw new RangeError(
        `${what} has ${all} tokens in prompt and responses, expected at most the engine's maxTokens, ${maxTokens}`,
      );
    }
  };
  let i = 0;
  for (const ranking of rankings) check(`ranking ${i++}`, ranking);
  i = 0;
  for (const ranking of validation) check(`validation ranking ${i++}`, ranking);
}

function checkRankings(rankings: Items<RankedResponses>): void {
  let i = 0;
  for (const { responses, ranks } of rankings) {
    if (responses.length < 2)
      throw new RangeError(`ranking ${i} has ${responses.length} responses, expected at least 2`);
    if (ranks.length !== responses.length)
      throw new RangeError(`ranking ${i} has ${ranks.length} ranks, expected ${responses.length}: one per response`);
    i++;
  }
}

function dealRanks(ranking: RankedResponses, seed: number, i: number): RankedResponses {
  const ranks = Int32Array.from(new Random(`${seed}/labels/${i}`).shuffle([...ranking.ranks]));
  return { ...ranking, ranks };
}

function* contents(rankings: Items<RankedResponses>): Iterable<Int32Array> {
  for (const { prompt, responses, ranks } of rankings) {
    yield prompt;
    yield* responses;
    yield ranks;
  }
}
