/** Rotary positions: their frequencies and their keys in `config.json`. */
import { HeedError } from '../core/errors.js';
import type { JsonObject } from '../core/json.js';
import type { Rope, RopeScaling } from './modelconfig.js';

/**
 * The angle by which each pair of channels turns from one position to the next.
 *
 * @returns (R / 2) radians, of R rotary channels
 * @throws HeedError ERR_INVALID_ARGUMENT that names the invalid field
 */
export function ropeFrequencies(
  { theta, scaling, partialRotaryFactor: share = 1 }: Rope,
  headDim: number,
): Float64Array {
  require('rope.theta', theta, theta > 1 && Number.isFinite(theta), 'expected more than 1');
  require('rope.partialRotaryFactor', share, share > 0 && share <= 1, 'expected more than 0 and at most 1');
  const channels = Math.floor(headDim * share);
  const expected = share === 1 ? 'headDim' : `headDim (${headDim}) · rope.partialRotaryFactor (${share})`;
  require(expected, channels, channels % 2 === 0 && channels > 0, 'expected an even number for rotary positions');
  const frequencies = Float64Array.from({ length: channels / 2 }, (_, j) => theta ** ((-2 * j) / channels));
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
export function readRope(keys: JsonObject, maxPositions: number, names: RopeNames = {}): Rope {
  const key = keys.isEmpty('rope_scaling') ? 'rope_parameters' : 'rope_scaling';
  keys.get('rope_parameters');
  const theta = keys.number(names.theta ?? 'rope_theta', names.missingTheta ?? 10_000);
  if (names.partial === undefined) keys.requireOneOf('partial_rotary_factor', [1]);
  const share = names.partial ? keys.number(names.partial.key, names.partial.missing) : 1;
  const outer: Rope = { theta, scaling: null, ...partial(share) };
  return keys.isEmpty(key) ? outer : readRopeParameters(keys.object(key), maxPositions, outer, names);
}

/** What a family calls the keys beside `rope_scaling`, and transformers' defaults for missing ones. */
export interface RopeNames {
  readonly theta?: string;
  readonly missingTheta?: number;
  /** Undefined: all channels are rotated. */
  readonly partial?: { readonly key: string; readonly missing: number };
}

/**
 * One object of rope parameters.
 *
 * @param outer what holds for keys that are missing
 */
export function readRopeParameters(inner: JsonObject, maxPositions: number, outer: Rope, names: RopeNames = {}): Rope {
  for (const name of inner.keys()) if (!known.includes(name)) inner.fail(name, 'is not implemented by heed');
  if (names.partial === undefined) inner.requireOneOf('partial_rotary_factor', [1]);
  const share = inner.number('partial_rotary_factor', outer.partialRotaryFactor ?? 1);
  const theta = inner.number('rope_theta', outer.theta);
  return { theta, scaling: readScaling(inner, maxPositions), ...partial(share) };
}

const partial = (share: number) => (share === 1 ? {} : { partialRotaryFactor: share });

function readScaling(inner: JsonObject, maxPositions: number): RopeScaling | null {
  const type = inner.oneOf(inner.has('rope_type') ? 'rope_type' : 'type', ['default', 'linear', 'llama3'], 'default');
  if (type === 'default') return null;
  if (type === 'linear') return { type, factor: inner.number('factor') };
  return {
    type,
    factor: inner.number('factor'),
    lowFreqFactor: inner.number('low_freq_factor'),
    highFreqFactor: inner.number('high_freq_factor'),
    originalMaxPositions: inner.positiveInteger('original_max_position_embeddings', maxPositions),
  };
}

/** Both forms: transformers 4 reads one, 5 the other. */
export function writeRope(rope: Rope): Record<string, unknown> {
  const parameters = ropeParameters(rope);
  const { rope_theta, ...scaling } = parameters;
  return { rope_theta, ...(rope.scaling === null ? {} : { rope_scaling: scaling }), rope_parameters: parameters };
}

/** One object of rope parameters. */
export function ropeParameters({ theta, scaling, partialRotaryFactor: share = 1 }: Rope): Record<string, unknown> {
  const shared = {
    rope_theta: theta,
    ...(share === 1 ? {} : { partial_rotary_factor: share }),
  };
  if (scaling === null) return { rope_type: 'default', ...shared };
  const { type, factor } = scaling;
  if (scaling.type === 'linear') return { rope_type: type, factor, ...shared };
  return {
    rope_type: type,
    factor,
    low_freq_factor: scaling.lowFreqFactor,
    high_freq_factor: scaling.highFreqFactor,
    original_max_position_embeddings: scaling.originalMaxPositions,
    ...shared,
  };
}
