export { DataError, type DataPlace, type ErrorCode, HeedError } from './core/errors.js';
export type { Abortable } from './core/native.js';
export type { Dialogue, Message } from './data/fields.js';
export {
  ChatTemplate,
  type DataOptions,
  type DataReport,
  demonstration,
  document,
  type Feedback,
  type Items,
  type Loaded,
  type Prompt,
  type PromptRow,
  packSequences,
  type RankedResponses,
  type Row,
  readDemonstrations,
  readDocuments,
  readFeedback,
  readPrompts,
  readRankings,
  readRows,
  splitByPrompt,
  type TrainSequence,
} from './data/index.js';
export type { Piece, Rendered } from './data/template.js';
export {
  type Accuracy,
  type AcrossLabelers,
  type AcrossOptions,
  type AnswerScores,
  acrossLabelers,
  bestOfNCurves,
  type CountedLabels,
  type CurvePoint,
  countedLabels,
  type EvalReport,
  type EvaluatedPrompt,
  type Figure,
  type GaoFit,
  isRefusal,
  type JudgeAgreement,
  type Judged,
  type JudgedWinRate,
  klFrom,
  type Label,
  type LabeledText,
  type LabelerReport,
  type LabelScores,
  type OverCurve,
  type OverReport,
  type PolicyScores,
  type Question,
  readLabels,
  type Sampled,
  type SampleScores,
  type SampleTreesOptions,
  sampleTrees,
  scoreAnswer,
  scorerPairs,
  trainingCurve,
  type ValuesReport,
  valuesReport,
  type WinOptions,
  type WinReport,
  winReport,
} from './evaluate/index.js';
export { exportGguf, type GgufOptions, type GgufType } from './gguf/index.js';
export { type ModelOptions, modelConfig } from './huggingface/config.js';
export type { Features, Sizes } from './huggingface/families/family.js';
export type { LoraConfig } from './huggingface/lora.js';
export {
  type FamilyName,
  familyNames,
  type ModelConfig,
  type ModelKind,
  type Rope,
  type RopeScaling,
  type SlidingWindow,
  type SpecialTokens,
} from './huggingface/modelconfig.js';
export type { RankingOptions } from './phases/comparisons.js';
export { type DpoLossType, type DpoOptions, trainDpo } from './phases/dpo.js';
export type { Environment, EnvironmentOptions, EpisodeStart } from './phases/environment.js';
export type {
  DetailedScores,
  Episode,
  EpisodesListener,
  RewardFunction,
  RewardScores,
  SampledOptions,
} from './phases/episodes.js';
export { type GrpoLossType, type GrpoOptions, trainGrpo } from './phases/grpo.js';
export { type KtoOptions, trainKto } from './phases/kto.js';
export { DivergenceError, finish, type PhaseOptions, type PhaseProgress } from './phases/loop.js';
export type {
  EpisodeMetrics,
  OfflineMetrics,
  OnlineMetrics,
  PairAccuracy,
  PpoMetrics,
  RewardMetrics,
  RolloutMetrics,
  StepMetrics,
  SupervisedMetrics,
} from './phases/metrics.js';
export type { OfflineOptions, OfflineResult } from './phases/offline.js';
export type { OnlineOptions, OnlineResult } from './phases/online.js';
export type { OptimizerOptions } from './phases/optimizer.js';
export { type OrpoOptions, trainOrpo } from './phases/orpo.js';
export type { CutOffRule } from './phases/ppo/advantages.js';
export { type PpoOptions, type PpoResult, trainPpo } from './phases/ppo/index.js';
export { type PretrainOptions, trainPretrain } from './phases/pretrain.js';
export { type RewardOptions, type RewardResult, scoreTrees, trainReward } from './phases/reward.js';
export { type RlooOptions, trainRloo } from './phases/rloo.js';
export { type ScheduleOptions, schedule } from './phases/schedule.js';
export { meanReward, type SelectionOptions } from './phases/selection.js';
export { type SftOptions, trainSft } from './phases/sft.js';
export { type SimpoOptions, trainSimpo } from './phases/simpo.js';
export type { Best, SupervisedOptions, SupervisedResult } from './phases/supervised.js';
export {
  type Answer,
  type CodeOptions,
  type Ensemble,
  exactMatch,
  type GuardOptions,
  httpReward,
  type JudgeOptions,
  judge,
  matches,
  matchesSchema,
  numericMatch,
  passesTests,
  type RewardContext,
  type RewardSource,
  type RewardsOptions,
  rewards,
  type Scores,
  type TextReward,
} from './rewards/index.js';
export type { Doing } from './runs/process.js';
export {
  type Checkpoint,
  type LiveAnswers,
  RunFolder,
  type RunFolderOptions,
  type RunState,
  type SavedState,
} from './runs/runfolder.js';
export type { AdapterOptions, LoraOptions } from './runtime/adapter.js';
export {
  type PackedBatch,
  packDocuments,
  packResponses,
  packScores,
  packValues,
  type ScoreBatch,
  type Tree,
} from './runtime/batch.js';
export { Engine, type EngineInfo, type EngineOptions, type EngineUsage } from './runtime/engine.js';
export type { Completion, GenerateOptions, GenerateRequest, StreamedToken } from './runtime/generate.js';
export {
  type InitOptions,
  type KeptCache,
  LanguageModel,
  type LoadOptions,
  type SaveOptions,
  ScalarModel,
} from './runtime/model.js';
export {
  computeTogether,
  type LogprobsRequest,
  type ScoresRequest,
  type TogetherResult,
} from './runtime/together.js';
export {
  type LanguageTrainer,
  type PolicyLossOptions,
  type PolicyLossResult,
  type RewardLossOptions,
  type RewardLossResult,
  type ScalarTrainer,
  type Scaled,
  type SftLossOptions,
  type StepOptions,
  type StepResult,
  stepTogether,
  type TrainerOptions,
  type TrainerStep,
  type ValueLossOptions,
  type ValueLossResult,
} from './runtime/trainer.js';
export {
  type Agreement,
  type AlphaOptions,
  type BootstrapOptions,
  type BradleyTerry,
  type BradleyTerryOptions,
  bradleyTerry,
  type Comparison,
  type Comparisons,
  compareOrders,
  type Estimate,
  krippendorffAlpha,
  type LabeledRanking,
  labelerAgreement,
  pairwiseAgreement,
  rankUnits,
  type Strength,
  selfAgreement,
  type WinRate,
} from './statistics/index.js';
export {
  type GenerateTextOptions,
  generateText,
  type ScoreTextOptions,
  scoreText,
  streamText,
  type TextOptions,
  type TextPrompt,
} from './text/index.js';
export {
  type BpeOptions,
  type BpeVocabulary,
  countWords,
  toTokenizerJson,
  trainBpe,
  type WordCounts,
} from './tokenizer/bpe.js';
export { type AddedToken, copyTokenizer, type TokenizerOptions } from './tokenizer/files.js';
export { type Continuation, TextStream, Tokenizer } from './tokenizer/tokenizer.js';
