/** Memory that a run will take, before anything is allocated: what --dry-run prints. */
import type { ModelConfig } from '../huggingface/modelconfig.js';
import { parametersOf } from '../runtime/model.js';

const kFloat = 4; // bytes

/** Numbers in a model's weights. */
export function parameterCount(config: ModelConfig, kind: 'language' | 'scalar' = 'language'): number {
  return parametersOf(config, kind).reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);
}

/** A model that a run holds. */
export interface Held {
  readonly config: ModelConfig;
  readonly kind: 'language' | 'scalar';
  /** Gradients and AdamW's moments too. */
  readonly trained: boolean;
}

export interface MemoryPlan {
  readonly weights: number;
  readonly optimizer: number;
  /** Of one pass: what the backward needs, scratch, logits of a chunk of rows. */
  readonly activations: number;
  readonly cache: number;
}

/**
 * Bytes, close but not exact: the engine measures a pass when it runs it first.
 *
 * @param passTokens tokens of the largest pass
 * @param slots sequences decoded together; 0 for none
 */
export function memoryPlan(models: readonly Held[], passTokens: number, slots = 0): MemoryPlan {
  const bytes = (held: Held) => kFloat * parameterCount(held.config, held.kind);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const trained = models.filter((held) => held.trained);
  const passes = models.map(({ config: c, trained: isTrained }) => {
    const mlp = (c.gatedMlp ? 3 : 2) * c.mlpChannels;
    const perBlock =
      4 * c.channels + // the residual stream, its middle, two norms
      (2 * c.numHeads + 2 * c.numKvHeads) * c.headDim + // queries, keys, values, what attention returns
      mlp;
    const blocks = isTrained ? c.numLayers * perBlock + 3 * c.channels + mlp : perBlock; // kept for the backward, and its scratch
    const logits = Math.min(passTokens, 256) * c.vocabSize;
    return kFloat * (passTokens * (blocks + 3 * c.channels) + logits);
  });
  const caches = models.map(({ config: c, kind }) =>
    kind === 'language' ? kFloat * slots * c.maxPositions * c.numLayers * 2 * c.numKvHeads * c.headDim : 0,
  );
  return {
    // As stored, and laid out for the matrix kernels: forward, and backward where there is one.
    weights: sum(models.map((held) => (held.trained ? 3 : 2) * bytes(held))),
    optimizer: 3 * sum(trained.map(bytes)),
    activations: Math.max(0, ...passes),
    cache: Math.max(0, ...caches),
  };
}

/** `about 1.2 GB: weights 0.4, optimizer 0.5, activations 0.3 GB`. */
export function describeMemory(plan: MemoryPlan): string {
  const total = plan.weights + plan.optimizer + plan.activations + plan.cache;
  const [unit, size] = total < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  const shown = (bytes: number) => (bytes / size).toFixed(bytes < 9.95 * size ? 1 : 0);
  const parts = Object.entries(plan)
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${shown(bytes)}`);
  return `about ${shown(total)} ${unit}: ${parts.join(', ')} ${unit}`;
}
