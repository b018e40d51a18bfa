/** Rotary positions: their frequencies and their keys in `config.json`. */
import { HeedError } from '../core/errors.js';
import type { JsonObject } from '../core/json.js';
import type { Rope, RopeScaling } from './modelconfig.js';

/**
 * The angle by which each pair of channels turns from one position to the next.
 *
 * @returns (D / 2) radians
 * @throws HeedError ERR_INVALID_ARGUMENT that names the invalid field
 */
export function ropeFrequencies({ theta, scaling }: Rope, headDim: number): Float64Array {
  require('rope.theta', theta, theta > 1 && Number.isFinite(theta), 'expected more than 1');
  require('headDim', headDim, headDim % 2 === 0, 'expected an even number for rotary positions');
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, j) => theta ** ((-2 * j) / headDim));
  if (scaling === null) return frequencies;
  require('rope.scaling.factor', scaling.factor, scaling.factor >= 1, 'expected 1 or more');
  return frequencies.map((frequency) => scaled(frequency, scaling));
}

function scaled(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === 'linear') return frequency / scaling.factor;
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions } = scaling;
  require('rope.scaling.highFreqFactor', high, high > low, `expected more than lowFreqFactor (${low})`);
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI); // within the context length of pretraining
  const share = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return (1 - share) * (frequency / factor) + share * frequency;
}

function require(name: string, value: unknown, holds: boolean, expected: string): void {
  if (!holds) throw new HeedError('ERR_INVALID_ARGUMENT', `${name} is ${String(value)}, ${expected}`);
}

// Keys of all rope types of transformers; a type ignores those it does not use.
const known = `rope_type type rope_theta partial_rotary_factor factor low_freq_factor high_freq_factor attention_factor
  original_max_position_embeddings beta_fast beta_slow short_factor long_factor mscale mscale_all_dim truncate`.split(
  /\s+/,
);

/**
 * `rope_theta` and `rope_scaling` until transformers 4, all in `rope_parameters` since 5.
 *
 * @param maxPositions of the model: the default of `original_max_position_embeddings`
 */
export function readRope(keys: JsonObject, maxPositions: number): Rope {
  keys.requireOneOf('partial_rotary_factor', [1]);
  const key = keys.isEmpty('rope_scaling') ? 'rope_parameters' : 'rope_scaling';
  keys.get('rope_parameters');
  const outer = keys.number('rope_theta', 10_000);
  if (keys.isEmpty(key)) return { theta: outer, scaling: null };

  const inner = keys.object(key);
  for (const name of inner.keys()) if (!known.includes(name)) inner.fail(name, 'is not implemented by heed');
  inner.requireOneOf('partial_rotary_factor', [1]);
  const theta = inner.number('rope_theta', outer);
  const type = inner.oneOf(inner.has('rope_type') ? 'rope_type' : 'type', ['default', 'linear', 'llama3'], 'default');
  if (type === 'default') return { theta, scaling: null };
  if (type === 'linear') return { theta, scaling: { type, factor: inner.number('factor') } };
  return {
    theta,
    scaling: {
      type,
      factor: inner.number('factor'),
      lowFreqFactor: inner.number('low_freq_factor'),
      highFreqFactor: inner.number('high_freq_factor'),
      originalMaxPositions: inner.positiveInteger('original_max_position_embeddings', maxPositions),
    },
  };
}

/** Both forms: transformers 4 reads one, 5 the other. */
export function writeRope({ theta, scaling }: Rope): Record<string, unknown> {
  if (scaling === null) return { rope_theta: theta, rope_parameters: { rope_type: 'default', rope_theta: theta } };
  const { type, factor } = scaling;
  const own =
    scaling.type === 'llama3'
      ? {
          low_freq_factor: scaling.lowFreqFactor,
          high_freq_factor: scaling.highFreqFactor,
          original_max_position_embeddings: scaling.originalMaxPositions,
        }
      : {};
  const parameters = { rope_type: type, factor, ...own };
  return { rope_theta: theta, rope_scaling: parameters, rope_parameters: { ...parameters, rope_theta: theta } };
}
