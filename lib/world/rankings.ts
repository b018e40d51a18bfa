/**
 * Rankings from mixed sources: for each prompt a demonstration, an answer to another prompt, sometimes a needless hedge
 * or a near miss, and samples of the policy for the rest. Samples alone would teach a reward model which kind of
 * sentence is good, not whether it answers.
 */

import type { Random } from '../core/random.js';
import { CLOSINGS, demonstrate, drawTrainPrompt, HEDGES } from './demonstrations.js';
import { DEFINITIONS, drawKey, worldPrompt } from './families/index.js';
import { rank } from './labelers.js';
import type { Family, Ranking, WorldPrompt } from './types.js';

/** Families where not knowing must be told from knowing. */
const PASSAGES: readonly Family[] = ['where', 'colour', 'who', 'unknown'];

/** How often an answer that is neither a demonstration nor a sample is closed. */
const CLOSED = 0.15;

/** Settings of {@link makeRanking}. */
export interface RankingOptions {
  /** Answers to rank at most (default 6). Fewer different samples give fewer answers. */
  k?: number;
  /** Gives the ranks to the answers at random: the counterfactual in which there is nothing to learn. Default false. */
  shuffleLabels?: boolean;
}

/** A good answer to another prompt: half the time of the same family, so that only what was asked tells them apart. */
export function answerToAnother(prompt: WorldPrompt, random: Random): string {
  for (let tries = 0; tries < 100; tries++) {
    const another = random.chance(0.5)
      ? worldPrompt(prompt.family, drawKey(prompt.family, false, random), 0)
      : drawTrainPrompt(random);
    if (another.truth.answer !== prompt.truth.answer) return another.truth.answer;
  }
  throw new Error(`rankings: no other answer found for "${prompt.instruction}"`);
}

/**
 * The answers of one prompt to be ranked, in random order, all different.
 *
 * @param prompt a prompt to train on
 * @param samples answers of the policy, as generated (with or without the space they begin with)
 * @param random decides the sources
 * @param k answers at most
 */
export function rankingCandidates(prompt: WorldPrompt, samples: readonly string[], random: Random, k = 6): string[] {
  const chosen = new Set<string>();
  const put = (answer: string) => {
    if (chosen.size < k) chosen.add(` ${answer.trim()}`);
  };
  // Demonstrators and the policy close some of their answers. Were the other sources never to, a closing would tell a good
  // source from a bad one, and the reward model would pay for it.
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
 * @param random decides sources, labeler and noise
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
