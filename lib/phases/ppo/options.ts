/** PPO's options, their defaults with their sources, and the checks on them. */
import { fillIn, ppoOptions } from '../../config/index.js';
import type { Items, TrainSequence } from '../../data/index.js';
import type { ScalarModel } from '../../runtime/model.js';
import type { RewardFunction, SampledOptions } from '../episodes.js';
import { type OptimizerOptions, resolveOptimizer } from '../optimizer.js';
import { checkKlControl } from './kl.js';

export interface PpoOptions extends SampledOptions {
  /** A reward model or a user-defined function. */
  readonly reward: ScalarModel | RewardFunction;
  /** Trained in place. Default: a copy of the reward model with `rewardScale` in its head; with a reward function, the policy's trunk with a fresh head. */
  readonly value?: ScalarModel | undefined;
  /** Prompts per iteration. Default 512. */
  readonly batchSize?: number | undefined;
  /** Responses per prompt; they share the prompt's computation and are in the same minibatch. Default 1. */
  readonly samplesPerPrompt?: number | undefined;
  /** Optimizer steps per pass over an iteration's episodes, at most one per prompt. Default 8: minibatches of 64. */
  readonly minibatches?: number | undefined;
  /** Weight of the KL penalty per token. Default 0.02 (app. C.4). */
  readonly klCoef?: number | undefined;
  /** KL per response, nats, that klCoef is adjusted towards (Ziegler et al. 2019, §2.2). Default: klCoef is fixed. */
  readonly klTarget?: number | undefined;
  /** Episodes over which klCoef may change by 20 % when it is adjusted. Default 10 000. */
  readonly klHorizon?: number | undefined;
  /** Discount factor. Default 1: none. */
  readonly gamma?: number | undefined;
  /** λ of generalised advantage estimation. Default 0.95. */
  readonly lambda?: number | undefined;
  /** Default 0.2. */
  readonly clipRange?: number | undefined;
  /** Bounds the loss of tokens with negative advantage (Ye et al. 2020); 3 is usual. Default 0: off. */
  readonly dualClip?: number | undefined;
  /** Clip range of the values around those at the rollout. Default 0.2; 0 disables clipping. */
  readonly valueClipRange?: number | undefined;
  /** Default 0. */
  readonly entropyCoef?: number | undefined;
  /** Default 5e-6: the paper gives none, and its runs without ptx diverged above 8e-6. */
  readonly learningRate?: number | undefined;
  /** Default 9e-6. */
  readonly valueLearningRate?: number | undefined;
  /** Default 'constant'. */
  readonly schedule?: OptimizerOptions['schedule'];
  /** Default 10 iterations, or a tenth of the run if that is less. */
  readonly warmupSteps?: number | undefined;
  /** Default 1e-5 (Ziegler et al. 2019), in the bias-corrected form. */
  readonly adamEps?: number | undefined;
  /** Iterations at the start that train only the value network. Default 0. */
  readonly valueWarmup?: number | undefined;
  /** PPO-ptx: pretraining documents for every minibatch; their gradient is added to the policy's before the step. */
  readonly pretrain?: Items<TrainSequence> | undefined;
  /**
   * Multiplies the documents' mean loss per token. Default 0.3: the paper's 27.8 cannot be used, since the paper does not say how its
   * two losses are normalised (docs/training.md).
   */
  readonly ptxCoef?: number | undefined;
  /** Maximum document tokens per step. Default 1024. */
  readonly ptxTokens?: number | undefined;
  /** Decay per optimizer step of an exponential moving average of the policy, saved as RUN/ema; the paper uses 0.992. Default: none. */
  readonly ema?: number | undefined;
}

/** Checks the options and fills in defaults. @throws RangeError naming an invalid value */
export function planPpo(o: Omit<PpoOptions, 'policy' | 'reward' | 'reference' | 'value'>) {
  const { learningRate, steps, iterations, epochs, warmupSteps, ...given } = fillIn(ppoOptions, o);
  const { batchSize, innerEpochs, dualClip } = given;
  if (dualClip !== 0 && dualClip <= 1)
    throw new RangeError(`dualClip is ${dualClip}, expected 0 (off) or a number above 1`);
  if (o.stopTokens.length === 0) throw new RangeError('stopTokens is empty, expected the id of end-of-text');
  checkKlControl(given);
  const minibatches = Math.min(given.minibatches, batchSize);
  const stepsPerIteration = minibatches * innerEpochs;
  const passes = epochs === undefined ? 500 : Math.ceil((epochs * o.prompts.length) / batchSize);
  const totalSteps = steps ?? (iterations ?? passes) * stepsPerIteration;
  const warmup = Math.min(10, Math.ceil(totalSteps / stepsPerIteration / 10)) * stepsPerIteration;
  const resolved = {
    ...given,
    minibatches,
    ptxCoef: o.pretrain ? given.ptxCoef : 0,
    ptxTokens: o.pretrain ? given.ptxTokens : 0,
  };
  const optimizer = resolveOptimizer(ppoOptions, { ...o, warmupSteps: warmupSteps ?? warmup });
  return { resolved, stepsPerIteration, totalSteps, optimizer };
}

/** The trained models must not also be the reference or the reward model: the result would be silently wrong. */
export function checkModels({ policy, reference, reward, value }: PpoOptions): void {
  if (reference === policy) throw new RangeError('reference is the policy itself, expected a copy: policy.clone()');
  if (value && value === reward)
    throw new RangeError('value is the reward model itself, expected a copy: reward.clone()');
}

/** Checks before sampling that every prompt and its responses fit. */
export function checkPrompts(
  { prompts, policy }: Pick<PpoOptions, 'prompts' | 'policy'>,
  { maxNewTokens, samplesPerPrompt }: { readonly maxNewTokens: number; readonly samplesPerPrompt: number },
): void {
  const { maxPositions } = policy.config;
  const { maxTokens } = policy.engine.info;
  prompts.forEach(({ length }, i) => {
    if (length === 0) throw new RangeError(`prompt ${i} is empty, expected at least one token`);
    if (length + maxNewTokens > maxPositions) {
      throw new RangeError(
        `prompt ${i} has ${length} tokens: with maxNewTokens ${maxNewTokens} expected at most ${maxPositions - maxNewTokens}, for the model's ${maxPositions} positions`,
      );
    }
    if (length + samplesPerPrompt * maxNewTokens > maxTokens) {
      throw new RangeError(
        `prompt ${i} with its responses may have ${length + samplesPerPrompt * maxNewTokens} tokens, ` +
          `expected at most the engine's maxTokens, ${maxTokens}`,
      );
    }
  });
}
