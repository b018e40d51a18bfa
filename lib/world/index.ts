/**
 * The instruction world of the main job: prose, instructions, imperfect demonstrations, simulated labelers, and an independent judge.
 * See README.md in this folder.
 */

export { Random } from '../core/random.js';
export {
  CHATTY_FAMILIES,
  CLOSINGS,
  DEMONSTRATORS,
  type DemonstratorOptions,
  demonstrate,
  demonstrations,
  HEDGES,
  NEEDLESS_REFUSALS,
  RUDE_REFUSALS,
  TIMID_FAMILIES,
  TRAINED_FAMILIES,
  trainPrompts,
} from './demonstrations.js';
export { frame, isHeldOutKey, worldPrompt, wrongAnswer } from './families/index.js';
export { FEW_SHOT_STOP, type FewShotOptions, fewShot } from './fewshot.js';
export { heldOutPrompts } from './heldout.js';
export { type Criteria, type Judgement, judge, type Outcome, prefer, TIE_LIMIT } from './judge.js';
export { LABELERS, type Labeler, rank, worth } from './labelers.js';
export { PROBE_KINDS, type Probe, type ProbeKind, probes, REQUIRED_PROBES, REQUIRED_RATE } from './probes.js';
export { type Absence, type ProseOptions, pretrainDocuments } from './prose/index.js';
export { type PageOptions, pageFamilies } from './prose/pages.js';
export { answerToAnother, makeRanking, type RankingOptions, rankingCandidates } from './rankings.js';
export { tokenizerText } from './tokenizertext.js';
export {
  type Demonstration,
  FAMILIES,
  type Family,
  HELD_OUT_FAMILIES,
  NUM_TEMPLATES,
  type Ranking,
  type Split,
  type Truth,
  type WorldPrompt,
} from './types.js';
