/** Converts a model's configuration to the addon's form. */
import type * as addon from '../../bindings/addon.js';
import { familyOf } from '../huggingface/config.js';
import type { ModelConfig, ModelKind } from '../huggingface/modelconfig.js';
import { ropeFrequencies } from '../huggingface/rope.js';

/** @throws HeedError ERR_INVALID_ARGUMENT, or TypeError, that names the field */
export function nativeConfig(config: ModelConfig, head: ModelKind): addon.ModelConfig {
  const { names } = familyOf(config?.family);
  const frequencies = config.rope ? ropeFrequencies(config.rope, config.headDim) : new Float64Array();
  return {
    ...config,
    head,
    names,
    ropeFrequencies: frequencies,
    slidingWindow: config.slidingWindow?.size ?? 0,
    fullLayers: Int32Array.from(config.slidingWindow?.fullLayers ?? []),
  };
}
