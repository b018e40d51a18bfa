/** Training data: reads rows of JSON Lines and text files as token ids. */
export { Frame } from './frame.js';
export { type Items, mapItems, select } from './items.js';
export { packSequences } from './pack.js';
export {
  type DataOptions,
  type DataReport,
  type Loaded,
  type PromptRow,
  readDemonstrations,
  readDocuments,
  readPrompts,
  readRankings,
} from './read.js';
export { type Row, readRows } from './rows.js';
export { describeReport, splitByPrompt } from './split.js';
export { ChatTemplate, TEMPLATES } from './template.js';
export {
  demonstration,
  document,
  lossTokens,
  type Prompt,
  type RankedResponses,
  type TrainSequence,
} from './types.js';
