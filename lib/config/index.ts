/**
 * Configurations: YAML or JSON files, `--set key=value` and flags, checked against one table of fields. An error names the key, its
 * value, what was expected, and where it was given.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { DataError, HeedError } from '../core/errors.js';
import { isObject } from '../core/json.js';
import { describe, type Field, type Fields, type Values } from './fields.js';
import { suggestion } from './nearest.js';

export * from './commands.js';
export * from './evaluation.js';
export * from './fields.js';
export * from './options.js';

/** A mistake in the arguments or the configuration; the command line exits with status 2. */
export class UsageError extends HeedError {
  override readonly name = 'UsageError';
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_INVALID_ARGUMENT', message, options);
  }
}

/** Values by key, and for error messages where they come from: a file, `--set`, a flag. */
export interface Source {
  readonly where: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** The form of a key in this source: `--learning-rate`. Default: the key itself. */
  readonly nameOf?: (key: string) => string;
}

/** These all set the length of a run: the last source that gives any of them overrides all of them. */
const kLengths = ['iterations', 'steps', 'epochs'];

/**
 * The values of one table of options from several sources; later sources win. `undefined` and `null` leave an option unchanged.
 *
 * @throws UsageError naming the first key that is unknown, with the nearest that exists, or whose value is invalid
 */
export function resolve<F extends Fields>(fields: F, sources: readonly Source[]): Values<F> {
  const merged: Record<string, unknown> = {};
  for (const source of sources) {
    const given = check(fields, source);
    if (kLengths.some((key) => key in given)) for (const key of kLengths) delete merged[key];
    Object.assign(merged, given);
  }
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(fields)) values[key] = merged[key] ?? field.default;
  return values as Values<F>;
}

function check(fields: Fields, { where, values, nameOf = (key) => key }: Source): Record<string, unknown> {
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));
  const schema = z.strictObject(mapValues(fields, (field) => field.schema.optional()));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    throw new UsageError(
      `${where}: there is no option ${nameOf(key)}${suggestion(nameOf(key), Object.keys(fields).map(nameOf))}`,
    );
  }
  const key = String(issue.path[0]);
  throw new UsageError(`${where}: ${nameOf(key)} is ${describe(given[key])}, ${fields[key]!.expected}`);
}

/**
 * Reads a configuration file: YAML, which includes JSON.
 *
 * @throws DataError naming the file, and the line where the YAML is invalid
 */
export async function readConfig(file: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new DataError(code === 'ENOENT' ? 'does not exist' : message, { file }, { cause });
  }
  const { parseDocument } = await import('yaml'); // only configuration files need it
  const document = parseDocument(text, { prettyErrors: true });
  const problem = document.errors[0];
  if (problem) {
    const line = problem.linePos?.[0].line;
    throw new DataError(
      `is not valid YAML: ${problem.message.split('\n')[0]!.replace(/:$/, '')}`,
      { file, line },
      { cause: problem },
    );
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  if (value === null || value === undefined) return {};
  if (!isObject(value)) {
    throw new DataError('is not a mapping of keys to values', { file });
  }
  return value;
}

/**
 * The part of a configuration that applies to one command: keys at the top level, and the section named after it. Sections of other
 * commands are left out, so that several commands can share a file.
 *
 * @param section the command's name
 * @param others names of sections that the file may have besides
 */
export function sectionOf(
  config: Readonly<Record<string, unknown>>,
  section: string,
  others: readonly string[],
): Record<string, unknown> {
  const own: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(config)) {
    if (key !== section && !(others.includes(key) && isObject(value))) own[key] = value;
  }
  const inner = config[section];
  if (inner === undefined || inner === null) return own;
  if (!isObject(inner)) return { ...own, [section]: inner }; // an option with the command's name
  return { ...own, ...inner };
}

/**
 * Parses `key=value` after `--set`: `learningRate=1e-4` or `sft.learningRate=1e-4`.
 *
 * @throws UsageError if there is no `=`, or the key belongs to another section
 */
export function parseSet(fields: Fields, assignment: string, section: string): Record<string, unknown> {
  const at = assignment.indexOf('=');
  if (at < 1) throw new UsageError(`--set ${assignment}: expected key=value`);
  const path = assignment.slice(0, at);
  const key = path.startsWith(`${section}.`) ? path.slice(section.length + 1) : path;
  return { [key]: parseText(fields[key], assignment.slice(at + 1)) };
}

/** Parses a typed value. A string that is not a number where one is expected is kept, and refused by the schema. */
// biome-ignore lint/suspicious/noExplicitAny: a field of any type
export function parseText(field: Field<any, any> | undefined, value: string): unknown {
  const asNumber = (part: string) => (part.trim() === '' || Number.isNaN(Number(part)) ? part : Number(part));
  switch (field?.kind) {
    case 'number':
      return asNumber(value);
    case 'numbers':
      return value
        .replace(/^\[|\]$/g, '')
        .split(',')
        .map(asNumber);
    case 'list':
      return value.split(',');
    case 'switch':
      return value === 'true' ? true : value === 'false' ? false : value;
    default:
      return value;
  }
}

/** The flag for an option: `--learning-rate` for `learningRate`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The values that are not undefined, as in a run's config.json. */
export function toJson(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function mapValues<T, U>(table: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, map(value)]));
}
