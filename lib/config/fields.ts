/** What an option is: its type and range, what it means, and its default. Configuration files, flags and help are made from it. */
import { z } from 'zod';

export type Kind = 'number' | 'numbers' | 'text' | 'list' | 'switch';

/** One option. `Default` is undefined where leaving it out means something of its own. */
export interface Field<T, Default extends T | undefined = undefined> {
  readonly kind: Kind;
  readonly schema: z.ZodType<T>;
  /** Ends the sentence `learningRate is -1, expected …`. */
  readonly expected: string;
  /** What the value is called in help: `--learning-rate RATE`. */
  readonly value: string;
  readonly help: string;
  readonly default: Default;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of fields of any type
export type Fields = Readonly<Record<string, Field<any, any>>>;

/** The values of a table of fields, defaults filled in. */
export type Values<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Field<infer T, infer D> ? (D extends undefined ? T | undefined : T) : never;
};

interface Range {
  readonly min?: number;
  readonly above?: number;
  readonly max?: number;
  readonly below?: number;
  readonly integer?: boolean;
  readonly value?: string;
}

/** A finite number within a range. */
export function number(help: string, range: Range): Field<number>;
export function number(help: string, range: Range & { readonly default: number }): Field<number, number>;
export function number(help: string, range: Range & { readonly default?: number }): Field<number, number | undefined> {
  const { min, above, max, below, integer = false } = range;
  const bounds = [
    min !== undefined && `of at least ${min}`,
    above !== undefined && `above ${above}`,
    max !== undefined && `of at most ${max}`,
    below !== undefined && `below ${below}`,
  ].filter(Boolean);
  const expected = ['expected', integer ? 'an integer' : 'a number', bounds.join(' and ')].filter(Boolean).join(' ');
  const schema = z.custom<number>(
    (value) =>
      typeof value === 'number' &&
      Number.isFinite(value) &&
      (!integer || Number.isSafeInteger(value)) &&
      (min === undefined || value >= min) &&
      (above === undefined || value > above) &&
      (max === undefined || value <= max) &&
      (below === undefined || value < below),
    expected,
  );
  return {
    kind: 'number',
    schema,
    expected,
    value: range.value ?? (integer ? 'N' : 'X'),
    help,
    default: range.default,
  };
}

/** An integer of at least 1, unless said otherwise. */
export function count(help: string): Field<number>;
export function count(help: string, range: Range & { readonly default: number }): Field<number, number>;
export function count(help: string, range: Range): Field<number>;
export function count(
  help: string,
  range: Range & { readonly default?: number } = {},
): Field<number, number | undefined> {
  return number(help, { min: 1, integer: true, ...range } as Range & { default: number });
}

/** Two numbers in [0, 1). */
export function betas(
  help: string,
  initial: readonly [number, number],
): Field<readonly [number, number], readonly [number, number]> {
  const expected = 'expected two numbers of at least 0 and below 1: 0.9,0.95';
  const schema = z.custom<readonly [number, number]>(
    (value) =>
      Array.isArray(value) && value.length === 2 && value.every((b) => typeof b === 'number' && b >= 0 && b < 1),
    expected,
  );
  return { kind: 'numbers', schema, expected, value: 'B1,B2', help, default: initial };
}

/** A text that is not empty: a path, a token. */
export function text(help: string, value = 'TEXT'): Field<string> {
  const expected = 'expected a text that is not empty';
  return {
    kind: 'text',
    schema: z.custom<string>((v) => typeof v === 'string' && v !== '', expected),
    expected,
    value,
    help,
    default: undefined,
  };
}

/** Several texts; one may stand alone in a configuration file. */
export function list(help: string, value = 'FILE...'): Field<readonly string[]> {
  const expected = 'expected one or more texts that are not empty';
  const schema = z.preprocess(
    (v) => (typeof v === 'string' ? [v] : v),
    z.custom<readonly string[]>(
      (v) => Array.isArray(v) && v.length > 0 && v.every((x) => typeof x === 'string' && x !== ''),
      expected,
    ),
  );
  return { kind: 'list', schema, expected, value, help, default: undefined };
}

/** One of some words. */
export function choice<const W extends string>(help: string, words: readonly W[], initial: W): Field<W, W> {
  const expected = `expected ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
  const schema = z.custom<W>((v) => words.includes(v as W), expected);
  return { kind: 'text', schema, expected, value: words.join('|'), help, default: initial };
}

/** Yes or no. Where the default is yes the flag is `--no-NAME`. */
export function flag(help: string, initial = false): Field<boolean, boolean> {
  const expected = 'expected true or false';
  const schema = z.custom<boolean>((v) => typeof v === 'boolean', expected);
  return { kind: 'switch', schema, expected, value: '', help, default: initial };
}

/** The same option with another default or another help. */
export function withDefault<T>(field: Field<T, T> | Field<T>, initial: T, help = field.help): Field<T, T> {
  return { ...field, default: initial, help } as Field<T, T>;
}
