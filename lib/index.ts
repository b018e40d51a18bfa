export {
  type PackedBatch,
  packDocuments,
  packResponses,
  packScores,
  packValues,
  type ScoreBatch,
  type Tree,
} from './batch.js';
export { type BpeOptions, type BpeVocabulary, countWords, toTokenizerJson, trainBpe, type WordCounts } from './bpe.js';
export { type Checkpoint, RunFolder, type RunFolderOptions, type RunState, type SavedState } from './checkpoint.js';
export {
  ChatTemplate,
  type DataOptions,
  type DataReport,
  demonstration,
  document,
  type Loaded,
  type Prompt,
  type PromptRow,
  packSequences,
  type RankedResponses,
  type Row,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
  readRows,
  splitByPrompt,
  type TrainSequence,
} from './data.js';
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
export { meanReward, type SelectionOptions } from './phases/selection.js';
export { type SftOptions, trainSft } from './phases/sft.js';
export type { Best, SupervisedOptions, SupervisedResult } from './phases/supervised.js';
export { type ScheduleOptions, schedule } from './schedule.js';
export { copyTokenizer, TextStream, Tokenizer, type TokenizerOptions } from './tokenizer.js';
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
