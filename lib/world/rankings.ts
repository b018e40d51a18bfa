/**
 * Rankings from mixed sources: for each prompt a demonstration, an answer to another prompt, sometimes a needless hedge
 * or a near miss, and samples of the policy for the rest. Samples alone would teach a reward model which kind of
 * sentence is good, not whether it answers the question.
 */

import type { Random } from '../core/random.js';
import { CLOSINGS, demonstrate, drawTrainPrompt, HEDGES } from './demonstrations.js';
import { DEFINITIONS, drawKey, worldPrompt } from './families/index.js';
import { rank } from './labelers.js';
import type { Family, Ranking, WorldPrompt } from './types.js';

/** Families that test whether a model knows when it cannot know. */
const PASSAGES: readonly Family[] = ['where', 'colour', 'who', 'unknown'];

/** How often an answer that is neither a demonstration nor a sample gets a closing phrase. */
const CLOSED = 0.15;

/** Settings of {@link makeRanking}. */
export interface RankingOptions {
  /** Maximum number of answers to rank (default 6). There are fewer if there are fewer distinct samples. */
  k?: number;
  /** Control run: assigns the ranks at random, which leaves nothing to learn. Default false. */
  shuffleLabels?: boolean;
}

/** A good answer to another prompt: half the time of the same family, so that only the question distinguishes them. */
export function answerToAnother(prompt: WorldPrompt, random: Random): string {
  for (let tries = 0; tries < 100; tries++) {
    const another = random.chance(0.5)
      ? worldPrompt(prompt.family, drawKey(prompt.family, false, random), 0)
      : drawTrainPrompt(random);
    if (another.truth.answer !== prompt.truth.answer) return another.truth.answer;
  }
  throw new Error(`rankings: found no other answer for "${prompt.instruction}"`);
}

/**
 * The answers of one prompt to be ranked, all distinct, in random order.
 *
 * @param prompt a prompt to train on
 * @param samples answers of the policy, as generated (with or without a leading space)
 * @param random selects the sources
 * @param k maximum number of answers
 */
export function rankingCandidates(prompt: WorldPrompt, samples: readonly string[], random: Random, k = 6): string[] {
  const chosen = new Set<string>();
  const put = (answer: string) => {
    if (chosen.size < k) chosen.add(` ${answer.trim()}`);
  };
  // Demonstrators and the policy end some of their answers with a closing phrase. If the other sources never did, closings
  // would indicate good sources, and the reward model would reward them.
  const putClosed = (answer: string) => put(random.chance(CLOSED) ? `${answer} ${random.pick(CLOSINGS)}` : answer);
  put(demonstrate(prompt, random));
  putClosed(answerToAnother(prompt, random));
  const isPassage = PASSAGES.includes(prompt.family);
  if (random.chance(isPassage ? 0.6 : 0.15))
    putClosed(isPassage && random.chance(0.7) ? 'the text does not say.' : random.pick(HEDGES));
  else if (random.chance(0.3)) putClosed(DEFINITIONS[prompt.family].wrong(prompt.key, random));
  else if (random.chance(0.2)) put(prompt.truth.answer);
  for (const sample of samples) put(sample);
  return random.shuffle([...chosen]);
}

/**
 * One ranking: candidates from mixed sources, ranked by one labeler.
 *
 * @param prompt a prompt to train on
 * @param samples answers of the policy to it
 * @param random selects sources, labeler and noise
 */
export function makeRanking(
  prompt: WorldPrompt,
  samples: readonly string[],
  random: Random,
  options: RankingOptions = {},
): Ranking {
  const responses = rankingCandidates(prompt, samples, random, options.k ?? 6);
  const ranks = rank(prompt, responses, random);
  return {
    prompt: prompt.prompt,
    responses,
    ranks: options.shuffleLabels === true ? random.shuffle(ranks) : ranks,
    family: prompt.family,
  };
}
