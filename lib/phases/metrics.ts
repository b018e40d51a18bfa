/**
 * What the phases report, one object per optimizer step: the lines of metrics.jsonl. Losses, log-probabilities, entropies and
 * KL are in nats. Everything but `seconds` is the same each time a run is repeated.
 */

/** Metrics of every phase. */
export interface StepMetrics {
  /** Optimizer steps taken, this one included. */
  readonly step: number;
  /** Tokens that went through a trunk in this step, validation apart: a prompt with K responses counts once. */
  readonly tokensComputed: number;
  /** Wall-clock time of the step. */
  readonly seconds: number;
  /** What the user should know: options that fight each other, a resume under other conditions. */
  warnings?: readonly string[];
}

/** Supervised fine-tuning and pretraining. */
export interface SupervisedMetrics {
  /** Passes over the data so far. */
  readonly epoch: number;
  /** Mean over the step's tokens that carry loss. */
  readonly loss: number;
  /** Tokens that carry loss. */
  readonly tokens: number;
  /** Mean over the tokens of the pretraining documents mixed in. */
  readonly ptxLoss?: number;
  /** Norm of the whole gradient, before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Mean over the validation data's tokens that carry loss, after this step. */
  readonly validationLoss?: number;
  /** What the `evaluate` option returned, after this step. */
  readonly validationMetric?: number;
  /** Whether the validation made this step the best so far. */
  readonly best?: boolean;
}

/** Held-out agreement of a reward model with the rankings. */
export interface PairAccuracy {
  /** Share of the pairs compared that are scored the right way round; equal scores count one half. */
  readonly accuracy: number;
  /** 95 % interval: bootstrap over prompts. */
  readonly low: number;
  readonly high: number;
  /** Pairs compared; ties are not. */
  readonly pairs: number;
  readonly prompts: number;
}

/** Reward modelling. */
export interface RewardMetrics {
  readonly epoch: number;
  /** Mean over prompts with a pair to compare of the mean of -log σ(score_better - score_worse) over the prompt's pairs. */
  readonly loss: number;
  /** Share of the step's pairs scored the right way round, before the step. */
  readonly accuracy: number;
  /** Prompts with a pair to compare. */
  readonly prompts: number;
  readonly pairs: number;
  /** Rankings that are all ties: nothing was learnt from them. */
  readonly skipped: number;
  /** Standard deviation of the step's scores. */
  readonly scoreStd: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  /** On the held-out rankings, after this step. */
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
  readonly validationLow?: number;
  readonly validationHigh?: number;
  readonly validationPairs?: number;
}

/** Of an iteration's rollouts, measured before its first update; the same in every step of the iteration. */
export interface RolloutMetrics {
  /** Counted from 1. */
  readonly iteration: number;
  readonly episodes: number;
  /** Mean of score - klCoef · Σ k1 per response: what is maximised. */
  readonly reward: number;
  /** Mean score, after scaling and after the rule for cut-off responses. */
  readonly score: number;
  readonly scoreStd: number;
  /** Mean score as the reward model or function gave it. */
  readonly rawScore: number;
  /** KL from the reference, mean per response: Σ k1, the estimate of the penalty. */
  readonly kl: number;
  /** Σ k2 = Σ ½ (log ratio)². */
  readonly klK2: number;
  /** Σ k3 = Σ (ratio⁻¹ - 1 + log ratio). */
  readonly klK3: number;
  readonly klCoef: number;
  /** Mean response length, end-of-text included. */
  readonly length: number;
  /** Share of the responses that ended by themselves. */
  readonly finished: number;
  /** 1 - Var(returns - values) / Var(returns). */
  readonly explainedVariance: number;
  readonly returnsMean: number;
  readonly returnsStd: number;
}

/** PPO: the rollouts' metrics, and those of the step's minibatch. Means are over its response tokens. */
export interface PpoMetrics extends RolloutMetrics {
  /** The policy loss. */
  readonly loss: number;
  readonly valueLoss: number;
  /** Mean over the pretraining tokens, not multiplied by the coefficient. */
  readonly ptxLoss?: number;
  readonly entropy: number;
  /** Of the policy being trained to the one that sampled: mean of ratio - 1 - log ratio. */
  readonly approxKl: number;
  readonly ratioMean: number;
  readonly ratioMax: number;
  /** Share of tokens whose ratio the clip held back. */
  readonly clipFraction: number;
  readonly valueClipFraction: number;
  /** Norm of the policy's gradient before clipping, pretraining included. */
  readonly gradNorm: number;
  /** The norms of its two parts. */
  readonly policyGradNorm: number;
  readonly ptxGradNorm?: number;
  readonly valueGradNorm: number;
  readonly learningRate: number;
  readonly valueLearningRate: number;
  /** Response tokens of the minibatch. */
  readonly tokens: number;
}
