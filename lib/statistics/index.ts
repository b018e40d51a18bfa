/** Estimates with intervals, agreement between labelers: pure functions in float64, the same on every machine. */
export {
  type Agreement,
  type AlphaOptions,
  type Comparisons,
  compareOrders,
  krippendorffAlpha,
  type LabeledRanking,
  labelerAgreement,
  pairwiseAgreement,
  rankUnits,
  selfAgreement,
} from './agreement.js';
export { type BootstrapOptions, bootstrapRatio, clusteredMean, resampled } from './bootstrap.js';
export {
  type BradleyTerry,
  type BradleyTerryOptions,
  bradleyTerry,
  type Comparison,
  type Strength,
} from './bradleyterry.js';
export {
  bootstrapMean,
  type Estimate,
  notCertain,
  type Outcome,
  quantile,
  standardDeviation,
  type WinRate,
  type WinRateOptions,
  wilson,
  winRate,
} from './estimates.js';
export { type StudentizedOptions, studentizedMean } from './studentized.js';
