// A small model and toy tasks that it learns in seconds.

import { Random } from '../../../lib/core/random.js';
import { demonstration, document, type RankedResponses, type TrainSequence } from '../../../lib/data/index.js';
import { modelConfig } from '../../../lib/huggingface/config.js';
import type { Engine } from '../../../lib/runtime/engine.js';
import { LanguageModel } from '../../../lib/runtime/model.js';

/** End-of-text in every toy task. */
export const kEnd = 0;
export const kVocab = 12;

/** Two layers, 32 channels, 12 tokens; for mistral a window of 7. */
export function tinyModel(
  engine: Engine,
  seed = 1,
  family: 'llama' | 'gpt2' | 'mistral' = 'llama',
): Promise<LanguageModel> {
  const isGpt2 = family === 'gpt2';
  const config = modelConfig(family, {
    numLayers: 2,
    numHeads: 2,
    numKvHeads: isGpt2 ? 2 : 1,
    channels: 32,
    mlpChannels: isGpt2 ? 128 : 96,
    vocabSize: kVocab,
    maxPositions: 64,
    slidingWindow: family === 'mistral' ? { size: 7, fullLayers: [] } : null,
  });
  return LanguageModel.init(engine, config, { seed });
}

/** `n` random tokens but end-of-text. */
export const randomTokens = (random: Random, n: number): Int32Array =>
  Int32Array.from({ length: n }, () => 1 + random.int(kVocab - 1));

/** Prompts with random responses, which can only be memorised. */
export function sequencesToMemorise(
  count: number,
): { prompt: Int32Array; response: Int32Array; sequence: TrainSequence }[] {
  const random = new Random('memorise');
  return Array.from({ length: count }, () => {
    const prompt = randomTokens(random, 4 + random.int(4));
    const response = Int32Array.of(...randomTokens(random, 3 + random.int(6)), kEnd);
    return { prompt, response, sequence: demonstration(prompt, response) };
  });
}

/** Documents that count upwards: 3 4 5 6 …, from a random start. */
export function documents(count: number): TrainSequence[] {
  const random = new Random('documents');
  return Array.from({ length: count }, () => {
    const start = random.int(kVocab - 1);
    return document(Int32Array.from({ length: 6 + random.int(8) }, (_, i) => 1 + ((start + i) % (kVocab - 1))));
  });
}

/** Rankings by a rule: the response with more of token 3 is better; equal counts are a tie. */
export function rankings(count: number, name: string): RankedResponses[] {
  const random = new Random(name);
  return Array.from({ length: count }, () => {
    const responses = Array.from({ length: 2 + random.int(4) }, () =>
      Int32Array.of(...randomTokens(random, 4).map((token) => (random.chance(0.3) ? 3 : token)), kEnd),
    );
    const count3 = (response: Int32Array) => response.filter((token) => token === 3).length;
    const counts = [...new Set(responses.map(count3))].sort((a, b) => b - a);
    return {
      prompt: randomTokens(random, 3),
      responses,
      ranks: Int32Array.from(responses, (response) => counts.indexOf(count3(response))),
    };
  });
}

/** The fraction of token 3 in a response: the reward of the toy policies. */
export const shareOf3 = (response: Int32Array): number =>
  response.filter((token) => token === 3).length / response.length;

export const prompts = (count: number): Int32Array[] => {
  const random = new Random('prompts');
  return Array.from({ length: count }, () => randomTokens(random, 2 + random.int(4)));
};
