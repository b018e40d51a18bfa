/** Evaluation as functions: what heed eval calls. */
export type { GaoFit } from '../report/types.js';
export { type AcrossLabelers, type AcrossOptions, acrossLabelers } from './acrosslabelers.js';
export type { EvaluatedPrompt } from './answers.js';
export { type CountedLabels, countedLabels } from './counted.js';
export { klFrom, type Sampled, type SampleTreesOptions, sampleTrees } from './divergence.js';
export type { Figure } from './figure.js';
export type { Judged } from './judges.js';
export { type Label, readLabels } from './labels.js';
export {
  bestOfNCurves,
  type CurvePoint,
  type OverCurve,
  type PolicyScores,
  type SampleScores,
  trainingCurve,
} from './overoptimisation.js';
export { type AnswerScores, type Question, scoreAnswer } from './questions.js';
export { isRefusal } from './refusalwords.js';
export type { EvalReport, OverReport } from './report.js';
export { type LabeledText, scorerPairs } from './toxicity.js';
export { type Accuracy, type LabelerReport, type LabelScores, type ValuesReport, valuesReport } from './values.js';
export { type JudgeAgreement, type JudgedWinRate, type WinOptions, type WinReport, winReport } from './wins.js';
