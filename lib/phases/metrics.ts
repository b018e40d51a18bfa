/**
 * Metrics of the phases, one object per optimizer step: the lines of metrics.jsonl. Losses, log-probabilities, entropies and
 * KL are in nats. Everything except `seconds` and `percentOfPeak` is identical when a run is repeated.
 */

/** Metrics of every phase. */
export interface StepMetrics {
  /** Optimizer steps taken, including this one. */
  readonly step: number;
  /** Tokens of all forward passes in this step, without validation; a prompt with K responses counts once. */
  readonly tokensComputed: number;
  /**
   * The multiply-adds that the step needs, over its time without validation, in percent of what the device can do at most in the
   * engine's number format ({@link Engine.peakFlops}). In PPO an iteration's first step has its rollouts.
   */
  readonly percentOfPeak: number;
  /** Wall-clock time of the step. */
  readonly seconds: number;
  /** Messages for the user: conflicting options, a resume under other conditions. */
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
  /** L2 norm of the gradient over all parameters, before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Mean over the validation data's tokens that carry loss, after this step. */
  readonly validationLoss?: number;
  /** The result of the `evaluate` option after this step. */
  readonly validationMetric?: number;
  /** Whether this step has the best validation so far. */
  readonly best?: boolean;
}

/** Agreement of a reward model with held-out rankings. */
export interface PairAccuracy {
  /** Fraction of compared pairs that are ordered correctly; equal scores count one half. */
  readonly accuracy: number;
  /** 95 % interval: bootstrap over prompts; Wilson's where all prompts have the same fraction. */
  readonly low: number;
  readonly high: number;
  /** Number of compared pairs, without ties. */
  readonly pairs: number;
  readonly prompts: number;
}

/** Reward modelling. */
export interface RewardMetrics {
  readonly epoch: number;
  /** Mean, over prompts with at least one pair, of the mean of -log σ(score_better - score_worse) over the prompt's pairs. */
  readonly loss: number;
  /** Fraction of the step's pairs that are ordered correctly, before the update. */
  readonly accuracy: number;
  /** Number of prompts with at least one pair. */
  readonly prompts: number;
  readonly pairs: number;
  /** Number of rankings that are all ties and were skipped. */
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

/** Metrics of an iteration's episodes, measured before its first update; the same in every step of the iteration. */
export interface EpisodeMetrics {
  /** Counted from 1. */
  readonly iteration: number;
  readonly episodes: number;
  /** Prompts that were left out because their reward could not be computed. */
  readonly skipped?: number;
  /** Of rewards with several terms: `reward/NAME` is the mean of a term, `failed/NAME` how many prompts it failed for. */
  readonly rewards?: Readonly<Record<string, number>>;
  /** Mean of score - klCoef · Σ k1 per response: the objective. */
  readonly reward: number;
  /** Mean score, after scaling and after the rule for cut-off responses. */
  readonly score: number;
  readonly scoreStd: number;
  /** Mean score as returned by the reward model or function. */
  readonly rawScore: number;
  /** KL from the reference, mean per response: Σ k1, as used by the penalty. */
  readonly kl: number;
  /** Σ k2 = Σ ½ (log ratio)². */
  readonly klK2: number;
  /** Σ k3 = Σ (ratio⁻¹ - 1 + log ratio). */
  readonly klK3: number;
  readonly klCoef: number;
  /** With an environment: mean turns of the policy in an episode. */
  readonly turns?: number;
  /** Mean response length in tokens, including end-of-text; of an environment's episodes the policy's own tokens. */
  readonly length: number;
  /** Fraction of the responses that ended by themselves. */
  readonly finished: number;
}

/** PPO: the episodes' metrics with those of the value network. */
export interface RolloutMetrics extends EpisodeMetrics {
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
  /** KL of the trained policy from the sampling policy: mean of ratio - 1 - log ratio. */
  readonly approxKl: number;
  readonly ratioMean: number;
  readonly ratioMax: number;
  /** Fraction of tokens whose ratio was clipped. */
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

/** Objectives on given responses: means over the step's prompts and, of rankings, over their pairs. */
export interface OfflineMetrics {
  /** The epoch at the end of the step, as a fraction. */
  readonly epoch: number;
  readonly loss: number;
  /** Fraction of the pairs, or with KTO of the responses, that the implicit rewards order as the labels do. */
  readonly accuracy: number;
  /** Reward of the better response minus that of the worse. */
  readonly margin?: number;
  /** Implicit reward of the better responses: β log(π / π_ref) for DPO and KTO, the log-probability per token for ORPO, times β for SimPO. */
  readonly chosenReward?: number;
  readonly rejectedReward?: number;
  /** Log-probability of the better responses, nats. If it falls, they become less likely although they are preferred. */
  readonly chosenLogprob?: number;
  readonly rejectedLogprob?: number;
  /** KTO: the estimate of the KL from the reference, at least 0, nats per response. */
  readonly kl?: number;
  /** Prompts of the step. */
  readonly prompts: number;
  /** Response tokens of the step. */
  readonly tokens: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly validationLoss?: number;
  /** As `accuracy`, of the held-out items, with its 95 % interval: bootstrap over prompts; Wilson's where all prompts have the same fraction. */
  readonly validationAccuracy?: number;
  readonly validationLow?: number;
  readonly validationHigh?: number;
  /** Number of compared pairs; with KTO of responses. */
  readonly validationPairs?: number;
}

/** Objectives on sampled groups of responses: the episodes' metrics, and those of the step's minibatch. */
export interface OnlineMetrics extends EpisodeMetrics {
  /** Fraction of the prompts whose responses all have the same score: there is nothing to learn from them. */
  readonly tiedGroups: number;
  readonly loss: number;
  /** Mean over the response tokens, nats. */
  readonly entropy: number;
  /** KL of the trained policy from the sampling policy: mean of ratio - 1 - log ratio over tokens. */
  readonly approxKl: number;
  readonly ratioMean: number;
  readonly ratioMax: number;
  /** Fraction of tokens (GRPO) or responses (RLOO) whose ratio was clipped. */
  readonly clipFraction: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Response tokens of the minibatch. */
  readonly tokens: number;
}
