/** Converts a model's configuration to the addon's form. */
import type * as addon from '../../bindings/addon.js';
import { familyOf } from '../huggingface/config.js';
import type { ModelConfig, ModelKind, Rope } from '../huggingface/modelconfig.js';
import { ropeFactor, ropeFrequencies } from '../huggingface/rope.js';

/** A message about a configuration, with the keys of the family's `config.json` in place of heed's names. */
export function inKeys(message: string, config: ModelConfig): string {
  const { keys } = familyOf(config.family);
  return message.replace(/[A-Za-z.]*[A-Za-z]/g, (word) => (Object.hasOwn(keys, word) ? keys[word]! : word));
}

/**
 * @param int8 the weights of linear layers are frozen, of 8 bits
 * @throws HeedError ERR_INVALID_ARGUMENT, or TypeError, that names the field
 */
export function nativeConfig(config: ModelConfig, head: ModelKind, int8 = false): addon.ModelConfig {
  const { names } = familyOf(config?.family);
  const frequencies = (rope: Rope | null) => (rope ? ropeFrequencies(rope, config.headDim) : new Float64Array());
  const factor = (rope: Rope | null) => (rope ? ropeFactor(rope) : 1);
  return {
    ...config,
    head,
    int8,
    names,
    qkNorm: config.qkNorm ?? 'none',
    embeddingScale: config.scaledEmbedding ? Math.sqrt(config.channels) : 1,
    ropeFrequencies: frequencies(config.rope),
    windowRopeFrequencies: frequencies(config.windowRope),
    ropeFactor: factor(config.rope),
    windowRopeFactor: factor(config.windowRope),
    noRopeLayers: Int32Array.from(config.noRopeLayers),
    attentionScale: config.attentionScale ?? 0,
    attentionSoftcap: config.attentionSoftcap ?? 0,
    logitSoftcap: config.logitSoftcap ?? 0,
    slidingWindow: config.slidingWindow?.size ?? 0,
    fullLayers: Int32Array.from(config.slidingWindow?.fullLayers ?? []),
  };
}
