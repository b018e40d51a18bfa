export {
  type PackedBatch,
  packDocuments,
  packResponses,
  packScores,
  packValues,
  type ScoreBatch,
  type Tree,
} from './batch.js';
export { DataError, type DataPlace, type ErrorCode, HeedError } from './errors.js';
