export {
  type PackedBatch,
  packDocuments,
  packResponses,
  packScores,
  packValues,
  type ScoreBatch,
  type Tree,
} from './batch.js';
export { Engine, type EngineInfo, type EngineOptions, type EngineUsage } from './engine.js';
export { DataError, type DataPlace, type ErrorCode, HeedError } from './errors.js';
export type { Completion, GenerateOptions, GenerateRequest, StreamedToken } from './generate.js';
export { type InitOptions, LanguageModel, type SaveOptions, ScalarModel } from './model.js';
export type { ModelConfig, SpecialTokens } from './modelconfig.js';
export type { Abortable } from './native.js';
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
