export {
  type PackedBatch,
  packDocuments,
  packResponses,
  packScores,
  packValues,
  type ScoreBatch,
  type Tree,
} from './batch.js';
export { type Checkpoint, RunFolder, type RunFolderOptions, type RunState, type SavedState } from './checkpoint.js';
export type { Prompt, RankedResponses, TrainSequence } from './data.js';
export { Engine, type EngineInfo, type EngineOptions, type EngineUsage } from './engine.js';
export { DataError, type DataPlace, type ErrorCode, HeedError } from './errors.js';
export type { Completion, GenerateOptions, GenerateRequest, StreamedToken } from './generate.js';
export { type InitOptions, LanguageModel, type SaveOptions, ScalarModel } from './model.js';
export type { ModelConfig, SpecialTokens } from './modelconfig.js';
export type { Abortable } from './native.js';
export type { CutOffRule } from './phases/advantages.js';
export type { Episode, RewardFunction } from './phases/episodes.js';
export type { AdaptiveKl, FixedKl, KlControl } from './phases/kl.js';
export { DivergenceError, finish, type PhaseOptions, type PhaseProgress } from './phases/loop.js';
export type {
  PairAccuracy,
  PpoMetrics,
  RewardMetrics,
  RolloutMetrics,
  StepMetrics,
  SupervisedMetrics,
} from './phases/metrics.js';
export type { OptimizerOptions } from './phases/optimizer.js';
export { type PpoOptions, type PpoResult, type PtxOptions, trainPpo } from './phases/ppo.js';
export { type PretrainOptions, trainPretrain } from './phases/pretrain.js';
export { type RewardOptions, type RewardResult, scoreTrees, trainReward } from './phases/reward.js';
export { type SftOptions, trainSft } from './phases/sft.js';
export type { Best, SupervisedOptions, SupervisedResult } from './phases/supervised.js';
export type {
  LanguageTrainer,
  PolicyLossOptions,
  PolicyLossResult,
  RewardLossOptions,
  RewardLossResult,
  ScalarTrainer,
  Scaled,
  SftLossOptions,
  StepOptions,
  StepResult,
  TrainerOptions,
  ValueLossOptions,
  ValueLossResult,
} from './trainer.js';
