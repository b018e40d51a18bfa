/** Fields define an option: its type, range, meaning and default. The API, configuration files, flags and help are derived from them. */
import { z } from 'zod';

/** A list's values follow one flag or are separated by commas; each of `texts` follows a flag of its own. */
export type Kind = 'number' | 'numbers' | 'text' | 'list' | 'texts' | 'switch';

/** One option. `Default` is undefined where omitting the option has a meaning of its own. */
export interface Field<T, Default extends T | undefined = undefined> {
  readonly kind: Kind;
  readonly schema: z.ZodType<T>;
  /** The end of the message `learningRate is -1, expected …`. */
  readonly expected: string;
  /** The value's name in help: `--learning-rate RATE`. */
  readonly value: string;
  readonly help: string;
  readonly default: Default;
  /** Where the default comes from, for docs/training.md. */
  readonly source?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of fields of any type
export type Fields = Readonly<Record<string, Field<any, any>>>;

/** The values of a table of fields, defaults filled in. */
export type Values<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Field<infer T, infer D> ? (D extends undefined ? T | undefined : T) : never;
};

/** The options of a table as a program passes them: missing and undefined ones have their default. */
export type OptionsOf<F extends Fields> = { readonly [K in keyof F]?: Values<F>[K] | undefined };

/**
 * A program's options, defaults filled in. Other properties of `given` are ignored.
 *
 * @throws RangeError naming the first option whose value is not allowed, its value, and what was expected
 */
export function fillIn<F extends Fields>(fields: F, given: OptionsOf<F>): Values<F> {
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(fields)) {
    const value = given[key];
    if (value !== undefined && !field.schema.safeParse(value).success) {
      throw new RangeError(`${key} is ${describe(value)}, ${field.expected}`);
    }
    values[key] = value ?? field.default;
  }
  return values as Values<F>;
}

/** A value as shown in an error message: JSON, but with NaN and Infinity. */
export function describe(value: unknown): string {
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
}

interface Range {
  readonly min?: number;
  readonly above?: number;
  readonly max?: number;
  readonly below?: number;
  readonly integer?: boolean;
  readonly value?: string;
  readonly source?: string;
}

/** A finite number within a range. */
export function number(help: string, range: Range): Field<number>;
export function number(help: string, range: Range & { readonly default: number }): Field<number, number>;
export function number(help: string, range: Range & { readonly default?: number }): Field<number, number | undefined> {
  const { min, above, max, below, integer = false, source } = range;
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
    ...(source === undefined ? {} : { source }),
  };
}

/** An integer of at least 1, unless the range says otherwise. */
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
  source: string,
): Field<readonly [number, number], readonly [number, number]> {
  const expected = 'expected two numbers of at least 0 and below 1: 0.9,0.95';
  const schema = z.custom<readonly [number, number]>(
    (value) =>
      Array.isArray(value) && value.length === 2 && value.every((b) => typeof b === 'number' && b >= 0 && b < 1),
    expected,
  );
  return { kind: 'numbers', schema, expected, value: 'B1,B2', help, default: initial, source };
}

/** One or more numbers above 0. */
export function positives(help: string, value: string): Field<readonly number[]> {
  const expected = 'expected one or more numbers above 0: 1,0.5';
  const isPositive = (x: unknown) => typeof x === 'number' && Number.isFinite(x) && x > 0;
  const schema = z.preprocess(
    (v) => (typeof v === 'number' ? [v] : v),
    z.custom<readonly number[]>((v) => Array.isArray(v) && v.length > 0 && v.every(isPositive), expected),
  );
  return { kind: 'numbers', schema, expected, value, help, default: undefined };
}

/** A non-empty string: a path, a token. */
export function text(help: string, value = 'TEXT'): Field<string> {
  const expected = 'expected a non-empty string';
  return {
    kind: 'text',
    schema: z.custom<string>((v) => typeof v === 'string' && v !== '', expected),
    expected,
    value,
    help,
    default: undefined,
  };
}

/** A time of day by the clock: `HH:MM`, or with seconds. */
export function timeOfDay(help: string, initial: string): Field<string, string> {
  const expected = 'expected a time of day: 03:00 or 23:30:15';
  const isTime = (v: unknown) => typeof v === 'string' && /^([01]\d|2[0-3])(:[0-5]\d){1,2}$/.test(v);
  const schema = z.custom<string>(isTime, expected);
  return { kind: 'text', schema, expected, value: 'HH:MM', help, default: initial };
}

/** Several strings; a configuration file may give a single one without a list. */
export function list(help: string, value = 'FILE...'): Field<readonly string[]> {
  const expected = 'expected one or more non-empty strings';
  const schema = z.preprocess(
    (v) => (typeof v === 'string' ? [v] : v),
    z.custom<readonly string[]>(
      (v) => Array.isArray(v) && v.length > 0 && v.every((x) => typeof x === 'string' && x !== ''),
      expected,
    ),
  );
  return { kind: 'list', schema, expected, value, help, default: undefined };
}

/** Several texts, which may contain commas: each is given with a flag of its own. */
export function texts(help: string, value = 'TEXT'): Field<readonly string[]> {
  return { ...list(help, value), kind: 'texts' };
}

/** One of several words. */
export function choice<const W extends string>(
  help: string,
  words: readonly W[],
  initial: W,
  source?: string,
): Field<W, W> {
  const expected = `expected ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
  const schema = z.custom<W>((v) => words.includes(v as W), expected);
  return {
    kind: 'text',
    schema,
    expected,
    value: words.join('|'),
    help,
    default: initial,
    ...(source ? { source } : {}),
  };
}

/** A boolean. Where the default is true the flag is `--no-NAME`. */
export function flag(help: string, initial = false): Field<boolean, boolean> {
  const expected = 'expected true or false';
  const schema = z.custom<boolean>((v) => typeof v === 'boolean', expected);
  return { kind: 'switch', schema, expected, value: '', help, default: initial };
}

/** The same option with another default and, if given, another help text or source. */
export function withDefault<T>(
  { source: _, ...field }: Field<T, T | undefined>,
  initial: NoInfer<T>,
  changes: { readonly help?: string; readonly source?: string } = {},
): Field<T, T> {
  return { ...field, default: initial, ...changes };
}
