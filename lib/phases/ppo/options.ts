/** PPO's options, their defaults with their sources, and the checks on them. */
import type { Prompt, TrainSequence } from '../../data/index.js';
import type { LanguageModel, ScalarModel } from '../../runtime/model.js';
import type { PhaseOptions } from '../loop.js';
import { type OptimizerOptions, resolveOptimizer } from '../optimizer.js';
import type { CutOffRule } from './advantages.js';
import { checkKlControl } from './kl.js';
import type { EpisodesListener, RewardFunction } from './rollout.js';

/**
 * The paper's 27.8 cannot be copied, since it does not say how its two losses are normalised (docs/training.md); this is on the
 * mean loss per token.
 */
export const kPtxCoef = 0.3;

export interface PpoOptions extends PhaseOptions, OptimizerOptions {
  /** Trained in place: the SFT model. */
  readonly policy: LanguageModel;
  /** What the KL penalty holds the policy to. Default: a copy of `policy` as it is given. */
  readonly reference?: LanguageModel | undefined;
  /** A reward model, or a function of the user's. */
  readonly reward: ScalarModel | RewardFunction;
  /** Multiplies every score: {@link RewardResult.scale}. Default 1. */
  readonly rewardScale?: number | undefined;
  /** Trained in place. Default: a copy of the reward model with `rewardScale` in its head, or with a reward function the policy's trunk with a fresh head. */
  readonly value?: ScalarModel | undefined;
  readonly prompts: readonly Prompt[];
  /** Names a prompt in errors: its text. */
  readonly describe?: ((promptIndex: number) => string) | undefined;
  /** Prompts of an iteration. Default 512. */
  readonly batchSize?: number | undefined;
  /** Responses to each prompt; they share its computation and stay in one minibatch. Default 1. */
  readonly samplesPerPrompt?: number | undefined;
  /** Optimizer steps in one pass over an iteration's episodes, at most one per prompt. Default 8: minibatches of 64. */
  readonly minibatches?: number | undefined;
  /** Passes over an iteration's episodes. Default 1. */
  readonly innerEpochs?: number | undefined;
  /** Default 500: the paper's 256 000 episodes. */
  readonly iterations?: number | undefined;
  /** Optimizer steps in place of iterations; the last iteration may be cut short. */
  readonly steps?: number | undefined;
  /** false takes the prompts in their order. Default true. */
  readonly shuffle?: boolean | undefined;
  readonly maxNewTokens: number;
  /** The ids that end a response. */
  readonly stopTokens: readonly number[];
  /** Of the rollouts; the losses and the reference use it too. Default 1. */
  readonly temperature?: number | undefined;
  /** Responses decoded together. Default 64. */
  readonly slots?: number | undefined;
  /** What becomes of a cut-off response's score. Default 'min': min(score, -cutOffPenalty). */
  readonly cutOff?: CutOffRule | undefined;
  /** Default 1. */
  readonly cutOffPenalty?: number | undefined;
  /** Weight of the KL penalty per token. Default 0.02 (app. C.4). */
  readonly klCoef?: number | undefined;
  /** KL per response, nats, that klCoef is adjusted towards (Ziegler et al. 2019, §2.2). Default: klCoef is fixed. */
  readonly klTarget?: number | undefined;
  /** Episodes over which klCoef may change by 20 % when it is adjusted. Default 10 000. */
  readonly klHorizon?: number | undefined;
  /** Ends the phase when an iteration's KL per response exceeds this, nats. Default: never. */
  readonly stopAtKl?: number | undefined;
  /** A KL per response beyond this is an error, nats. Default 100. */
  readonly maxKl?: number | undefined;
  /** Discount. Default 1: none. */
  readonly gamma?: number | undefined;
  /** Of generalised advantage estimation. Default 0.95. */
  readonly lambda?: number | undefined;
  /** Default 0.2. */
  readonly clipRange?: number | undefined;
  /** Bounds the loss of tokens with negative advantage (Ye et al. 2020); 3 is usual, 0, the default, is off. */
  readonly dualClip?: number | undefined;
  /** How far a value may move from the one at the rollout, as clipRange. Default 0.2; Infinity is off. */
  readonly valueClipRange?: number | undefined;
  /** Default 0. */
  readonly entropyCoef?: number | undefined;
  /** Default 5e-6: the paper does not print its own, and without ptx all above 8e-6 diverged. */
  readonly learningRate?: number | undefined;
  /** Default 9e-6. */
  readonly valueLearningRate?: number | undefined;
  /** Default 'constant'. */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 10 iterations, or a tenth of the run if that is less. */
  readonly warmupSteps?: number | undefined;
  /** Default 1e-5 (Ziegler et al. 2019), in the bias-corrected form. */
  readonly adamEps?: number | undefined;
  /** Iterations at the start in which only the value network learns. Default 0. */
  readonly valueWarmup?: number | undefined;
  /** PPO-ptx: pretraining documents beside every minibatch, their gradient added to the policy's before one step. */
  readonly pretrain?: readonly TrainSequence[] | undefined;
  /** Multiplies the documents' mean loss per token. Default {@link kPtxCoef}. */
  readonly ptxCoef?: number | undefined;
  /** Tokens of documents in a step, at most. Default 1024. */
  readonly ptxTokens?: number | undefined;
  /** Decay per optimizer step of an average of the policy's weights, kept as RUN/ema; the paper's is 0.992. Default: none. */
  readonly ema?: number | undefined;
  /** Sees every iteration's episodes and raw scores, before its first update; iterations are counted from 0. */
  readonly onEpisodes?: EpisodesListener | undefined;
}

/** Checks the options and puts in the defaults. @throws RangeError that names what cannot be */
export function planPpo(o: Omit<PpoOptions, 'policy' | 'reward' | 'reference' | 'value'>) {
  const resolved = {
    batchSize: o.batchSize ?? 512,
    samplesPerPrompt: o.samplesPerPrompt ?? 1,
    minibatches: Math.min(o.minibatches ?? 8, o.batchSize ?? 512),
    innerEpochs: o.innerEpochs ?? 1,
    shuffle: o.shuffle ?? true,
    maxNewTokens: o.maxNewTokens,
    temperature: o.temperature ?? 1,
    rewardScale: o.rewardScale ?? 1,
    cutOff: o.cutOff ?? 'min',
    cutOffPenalty: o.cutOffPenalty ?? 1,
    klCoef: o.klCoef ?? 0.02,
    klTarget: o.klTarget ?? null,
    klHorizon: o.klHorizon ?? 10_000,
    maxKl: o.maxKl ?? 100,
    gamma: o.gamma ?? 1,
    lambda: o.lambda ?? 0.95,
    clipRange: o.clipRange ?? 0.2,
    dualClip: o.dualClip ?? 0,
    valueClipRange: o.valueClipRange ?? 0.2,
    entropyCoef: o.entropyCoef ?? 0,
    valueLearningRate: o.valueLearningRate ?? 9e-6,
    valueWarmup: o.valueWarmup ?? 0,
    ptxCoef: o.pretrain ? (o.ptxCoef ?? kPtxCoef) : 0,
    ptxTokens: o.pretrain ? (o.ptxTokens ?? 1024) : 0,
    ema: o.ema ?? 0,
    stopAtKl: o.stopAtKl ?? null,
  } as const;
  const { minibatches, innerEpochs } = resolved;
  for (const name of ['batchSize', 'samplesPerPrompt', 'minibatches', 'innerEpochs', 'maxNewTokens'] as const) {
    requireThat(name, resolved[name], Number.isInteger(resolved[name]) && resolved[name] > 0, 'a positive integer');
  }
  for (const name of ['temperature', 'clipRange', 'valueClipRange', 'maxKl'] as const) {
    requireThat(name, resolved[name], resolved[name] > 0, 'a number above 0');
  }
  for (const name of ['gamma', 'lambda'] as const) {
    requireThat(name, resolved[name], resolved[name] >= 0 && resolved[name] <= 1, 'between 0 and 1');
  }
  for (const name of ['dualClip', 'entropyCoef', 'cutOffPenalty', 'valueWarmup', 'ptxCoef'] as const) {
    requireThat(name, resolved[name], resolved[name] >= 0 && Number.isFinite(resolved[name]), 'a number of at least 0');
  }
  requireThat('dualClip', resolved.dualClip, resolved.dualClip === 0 || resolved.dualClip > 1, '0 (off) or above 1');
  requireThat('rewardScale', resolved.rewardScale, Number.isFinite(resolved.rewardScale), 'a finite number');
  requireThat('ema', resolved.ema, resolved.ema >= 0 && resolved.ema < 1, '0 or more and less than 1');
  if (!['min', 'subtract', 'none'].includes(resolved.cutOff)) {
    throw new RangeError(`cutOff is '${resolved.cutOff}', expected 'min', 'subtract' or 'none'`);
  }
  if (o.stopTokens.length === 0) throw new RangeError('stopTokens is empty, expected the id of end-of-text');
  checkKlControl(resolved);
  const stepsPerIteration = minibatches * innerEpochs;
  const iterations = o.iterations ?? 500;
  const totalSteps = o.steps ?? iterations * stepsPerIteration;
  const warmup = Math.min(10, Math.ceil(totalSteps / stepsPerIteration / 10)) * stepsPerIteration;
  const defaults = { learningRate: 5e-6, schedule: 'constant', adamEps: 1e-5, warmupSteps: warmup } as const;
  return { resolved, stepsPerIteration, totalSteps, optimizer: resolveOptimizer(o, defaults) };
}

/** Refuses models that are trained and held to, or trained and trusted, at once: nothing would be right, and nothing would say so. */
export function checkModels({ policy, reference, reward, value }: PpoOptions): void {
  if (reference === policy) throw new RangeError('reference is the policy itself, expected a copy: policy.clone()');
  if (value && value === reward)
    throw new RangeError('value is the reward model itself, expected a copy: reward.clone()');
}

/** Refuses a prompt whose responses could not fit, before anything is sampled. */
export function checkPrompts({ prompts, maxNewTokens, policy }: PpoOptions, samplesPerPrompt: number): void {
  const { maxPositions } = policy.config;
  const { maxTokens } = policy.engine.info;
  prompts.forEach(({ length }, i) => {
    if (length === 0) throw new RangeError(`prompt ${i} is empty, expected at least one token`);
    if (length + maxNewTokens > maxPositions) {
      throw new RangeError(
        `prompt ${i} has ${length} tokens: with maxNewTokens ${maxNewTokens} it exceeds the model's ${maxPositions} positions`,
      );
    }
    if (length + samplesPerPrompt * maxNewTokens > maxTokens) {
      throw new RangeError(
        `prompt ${i} with its responses may have ${length + samplesPerPrompt * maxNewTokens} tokens, ` +
          `the engine's maxTokens is ${maxTokens}`,
      );
    }
  });
}

function requireThat(name: string, value: number, ok: boolean, expected: string): void {
  if (!ok) throw new RangeError(`${name} is ${value}, expected ${expected}`);
}
