/** Training data: rows of JSON Lines and text files as token ids. */
export { packSequences } from './data/pack.js';
export {
  demonstration,
  document,
  lossTokens,
  type Prompt,
  type RankedResponses,
  type TrainSequence,
} from './data/types.js';
