/** Rotary positions: their frequencies and their keys in `config.json`. */
import { HeedError } from '../core/errors.js';
import { type JsonObject, shown } from '../core/json.js';
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
  if (scaling === null || scaling.type === 'dynamic') return frequencies;
  if (scaling.type === 'longrope') {
    const { shortFactor: factors } = scaling;
    const isRight = factors.length === channels / 2 && factors.every((factor) => factor > 0 && Number.isFinite(factor));
    require('rope.scaling.shortFactor', shown(factors), isRight, `expected ${channels / 2} positive numbers`);
    return frequencies.map((frequency, j) => frequency / factors[j]!);
  }
  const { factor } = scaling;
  require('rope.scaling.factor', factor, factor >= 1, 'expected 1 or more');
  if (scaling.type === 'linear') return frequencies.map((frequency) => frequency / factor);
  const kept = scaling.type === 'yarn' ? keptByYarn(scaling, theta, channels) : keptByLlama3(scaling);
  return frequencies.map((frequency, j) => {
    const share = kept(frequency, j);
    return (1 - share) * (frequency / factor) + share * frequency;
  });
}

/** What rotated queries and keys are multiplied by. @throws HeedError ERR_INVALID_ARGUMENT */
export function ropeFactor({ scaling }: Rope): number {
  if (scaling?.type !== 'yarn' && scaling?.type !== 'longrope') return 1;
  const { attentionFactor: factor } = scaling;
  require('rope.scaling.attentionFactor', factor, factor > 0 && Number.isFinite(factor), 'expected a positive number');
  return factor;
}

/** How much of a frequency is kept, from 0 to 1. */
type Share = (frequency: number, j: number) => number;
const between = (value: number, low: number, high: number) => Math.min(1, Math.max(0, (value - low) / (high - low)));

function keptByLlama3(scaling: RopeScaling & { type: 'llama3' }): Share {
  const { lowFreqFactor: low, highFreqFactor: high, originalMaxPositions } = scaling;
  require('rope.scaling.highFreqFactor', high, high > low, `expected more than lowFreqFactor (${low})`);
  return (frequency) => between((originalMaxPositions * frequency) / (2 * Math.PI), low, high); // turns within that context
}

function keptByYarn(scaling: RopeScaling & { type: 'yarn' }, theta: number, channels: number): Share {
  const { betaFast, betaSlow, truncate, originalMaxPositions: length } = scaling;
  require('rope.scaling.betaSlow', betaSlow, betaSlow > 0, 'expected a positive number');
  require('rope.scaling.betaFast', betaFast, betaFast >= betaSlow, `expected at least betaSlow (${betaSlow})`);
  // The index of the frequency that turns so often, in transformers' formula.
  const indexOf = (turns: number) => (channels * Math.log(length / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [indexOf(betaFast), indexOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(truncate ? Math.ceil(slow) : slow, channels - 1);
  return (_, j) => 1 - between(j, low, low === high ? high + 0.001 : high);
}

/** The longest text: LongRoPE's short factors hold up to the context of pretraining. */
export const contextOf = ({ scaling }: Rope, maxPositions: number): number =>
  scaling?.type === 'longrope' ? Math.min(scaling.originalMaxPositions, maxPositions) : maxPositions;

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
 * @param maxPositions of the file: the default of `original_max_position_embeddings`
 */
export function readRope(keys: JsonObject, maxPositions: number, names: RopeNames = {}): Rope {
  const key = keys.isEmpty('rope_scaling') ? 'rope_parameters' : 'rope_scaling';
  keys.get('rope_parameters');
  const theta = keys.number(names.theta ?? 'rope_theta', names.missingTheta ?? 10_000);
  if (names.partial === undefined) keys.requireOneOf('partial_rotary_factor', [1]);
  const share = names.partial ? keys.number(names.partial.key, names.partial.missing) : 1;
  const outer: Rope = { theta, scaling: null, ...partial(share) };
  if (keys.isEmpty(key)) return outer;
  const inner = keys.object(key);
  // Beside rope_parameters it has priority over the one within.
  const hasOriginal = !keys.isEmpty(kOriginal) || names.missingOriginal !== undefined;
  const original = hasOriginal
    ? keys.positiveInteger(kOriginal, names.missingOriginal ?? maxPositions)
    : inner.positiveInteger(kOriginal, maxPositions);
  return readParameters(inner, { maxPositions, original }, outer, names);
}

const kOriginal = 'original_max_position_embeddings';

/** What a family calls the keys beside `rope_scaling`, and transformers' defaults for missing ones. */
export interface RopeNames {
  readonly theta?: string;
  readonly missingTheta?: number;
  /** Undefined: all channels are rotated. */
  readonly partial?: { readonly key: string; readonly missing: number };
  /** Of `original_max_position_embeddings` beside `rope_scaling`. */
  readonly missingOriginal?: number;
  /** Whether `longrope` is implemented; its other names. */
  readonly longrope?: readonly string[];
}

/** Positions of the file, and those of pretraining. */
interface Lengths {
  readonly maxPositions: number;
  readonly original: number;
}

/**
 * One object of rope parameters among several, one for each kind of layer.
 *
 * @param outer what holds for keys that are missing
 */
export function readRopeParameters(inner: JsonObject, maxPositions: number, outer: Rope): Rope {
  inner.requireOneOf('truncate', [true]); // transformers looks for it elsewhere
  return readParameters(inner, { maxPositions, original: inner.positiveInteger(kOriginal, maxPositions) }, outer, {});
}

function readParameters(inner: JsonObject, lengths: Lengths, outer: Rope, names: RopeNames): Rope {
  for (const name of inner.keys()) if (!known.includes(name)) inner.fail(name, 'is not implemented by heed');
  if (names.partial === undefined) inner.requireOneOf('partial_rotary_factor', [1]);
  const share = inner.number('partial_rotary_factor', outer.partialRotaryFactor ?? 1);
  const theta = inner.number('rope_theta', outer.theta);
  return { theta, scaling: readScaling(inner, lengths, names), ...partial(share) };
}

const partial = (share: number) => (share === 1 ? {} : { partialRotaryFactor: share });

const types = ['default', 'linear', 'dynamic', 'llama3', 'yarn'] as const;

function readScaling(inner: JsonObject, { maxPositions, original }: Lengths, names: RopeNames): RopeScaling | null {
  const key = inner.has('rope_type') ? 'rope_type' : 'type';
  const { longrope = [] } = names;
  if (longrope.includes(inner.get(key) as string)) return readLongRope(inner, maxPositions, original);
  const implemented: readonly string[] = [...types, ...longrope.slice(0, 1)];
  const type = inner.oneOf(key, implemented, 'default') as (typeof types)[number]; // longrope was returned above
  if (type === 'default') return null;
  const factor = inner.number('factor', type === 'yarn' && inner.has('factor') ? maxPositions / original : undefined);
  if (type === 'linear' || type === 'dynamic') return { type, factor };
  if (type === 'yarn') return readYarn(inner, factor, original);
  return {
    type,
    factor,
    lowFreqFactor: inner.number('low_freq_factor'),
    highFreqFactor: inner.number('high_freq_factor'),
    originalMaxPositions: original,
  };
}

function readYarn(inner: JsonObject, factor: number, originalMaxPositions: number): RopeScaling {
  const scale = (share: number) => (factor <= 1 ? 1 : 0.1 * share * Math.log(factor) + 1);
  const [one, all] = [inner.number('mscale', 0), inner.number('mscale_all_dim', 0)];
  return {
    type: 'yarn',
    factor,
    attentionFactor: inner.number('attention_factor', one !== 0 && all !== 0 ? scale(one) / scale(all) : scale(1)),
    betaFast: inner.number('beta_fast', 32) || 32, // 0 is the default too
    betaSlow: inner.number('beta_slow', 1) || 1,
    truncate: inner.boolean('truncate', true),
    originalMaxPositions,
  };
}

function readLongRope(inner: JsonObject, extendedPositions: number, originalMaxPositions: number): RopeScaling {
  const factor = inner.number('factor', extendedPositions / originalMaxPositions);
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
  const factors = (key: string): number[] => {
    const list = inner.get(key);
    const isRight = Array.isArray(list) && list.every((entry) => typeof entry === 'number' && entry > 0);
    return isRight ? (list as number[]) : inner.fail(key, `is ${shown(list)}, expected a list of positive numbers`);
  };
  return {
    type: 'longrope',
    attentionFactor: inner.number('attention_factor', usual),
    shortFactor: factors('short_factor'),
    longFactor: factors('long_factor'),
    originalMaxPositions,
    extendedPositions,
  };
}

/** Both forms: transformers 4 reads one, 5 the other. */
export function writeRope(rope: Rope): Record<string, unknown> {
  const parameters = ropeParameters(rope);
  const { rope_theta, ...scaling } = parameters;
  return {
    rope_theta,
    ...(rope.scaling === null ? {} : { rope_scaling: scaling }),
    rope_parameters: parameters,
    // Phi-3 has a default for it, which comes before what is within.
    ...(rope.scaling?.type === 'longrope'
      ? { [kOriginal]: rope.scaling.originalMaxPositions, max_position_embeddings: rope.scaling.extendedPositions }
      : {}),
  };
}

/** One object of rope parameters. */
export function ropeParameters({ theta, scaling, partialRotaryFactor: share = 1 }: Rope): Record<string, unknown> {
  const shared = {
    rope_theta: theta,
    ...(share === 1 ? {} : { partial_rotary_factor: share }),
  };
  if (scaling === null) return { rope_type: 'default', ...shared };
  const { type } = scaling;
  if (type === 'linear' || type === 'dynamic') return { rope_type: type, factor: scaling.factor, ...shared };
  const original = { [kOriginal]: scaling.originalMaxPositions };
  switch (type) {
    case 'llama3':
      return {
        rope_type: type,
        factor: scaling.factor,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        ...original,
        ...shared,
      };
    case 'yarn':
      return {
        rope_type: type,
        factor: scaling.factor,
        attention_factor: scaling.attentionFactor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        truncate: scaling.truncate,
        ...original,
        ...shared,
      };
    case 'longrope':
      return {
        rope_type: type,
        attention_factor: scaling.attentionFactor,
        short_factor: scaling.shortFactor,
        long_factor: scaling.longFactor,
        ...original,
        ...shared,
      };
  }
}
