/** Training data: reads rows of JSON Lines and text files as token ids. */
export type { DataReport } from './counts.js';
export { Frame } from './frame.js';
export { type Items, mapItems, select } from './items.js';
export { packSequences } from './pack.js';
export {
  type Loaded,
  readDemonstrations,
  readDocuments,
  readFeedback,
  readPrompts,
  readRankings,
} from './read.js';
export type { DataOptions, PromptRow } from './readers.js';
export { type Row, readRows } from './rows.js';
export { describeReport, splitByPrompt } from './split.js';
export { ChatTemplate, TEMPLATES } from './template.js';
export {
  demonstration,
  document,
  type Feedback,
  lossTokens,
  type Prompt,
  type RankedResponses,
  type TrainSequence,
} from './types.js';
