/** Training data: rows of JSON Lines and text files as token ids. */
export { Frame } from './data/frame.js';
export { packSequences } from './data/pack.js';
export {
  type DataOptions,
  type DataReport,
  type Loaded,
  type PromptRow,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
  readTexts,
} from './data/read.js';
export { type Row, readRows } from './data/rows.js';
export { describeReport, splitByPrompt } from './data/split.js';
export { ChatTemplate, TEMPLATES } from './data/template.js';
export {
  demonstration,
  document,
  lossTokens,
  type Prompt,
  type RankedResponses,
  type TrainSequence,
} from './data/types.js';
