import { modelConfig } from '../../lib/huggingface/config.js';
import type { ModelConfig } from '../../lib/huggingface/modelconfig.js';
import type { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';

const sizes = { numLayers: 2, channels: 16, mlpChannels: 40, vocabSize: 37, maxPositions: 48 };

export const gpt2: ModelConfig = modelConfig('gpt2', { ...sizes, numHeads: 2 });

export const llama: ModelConfig = modelConfig('llama', {
  ...sizes,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 6,
  tiedHead: false,
});

export const mistral: ModelConfig = modelConfig('mistral', {
  ...sizes,
  numHeads: 4,
  slidingWindow: { size: 8, fullLayers: [] },
});

export const configs: readonly [string, ModelConfig][] = [
  ['gpt2', gpt2],
  ['llama', llama],
];

export const language = (engine: Engine, config = llama, seed = 1) => LanguageModel.init(engine, config, { seed });

/** Ids below `vocabSize`, deterministic. */
export const ids = (length: number, seed = 1, vocabSize = 37): Int32Array =>
  Int32Array.from({ length }, (_, i) => (Math.imul(i + 7 * seed, 2654435761) >>> 8) % vocabSize);

/** A plain array: the addon's arrays belong to another realm than jest's. */
export const plain = (values: ArrayLike<number>): number[] => Array.from(values);

/** The error of a promise that must reject. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not reject');
}
