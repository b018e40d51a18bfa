/**
 * Configurations: YAML or JSON files, `--set key=value` and flags, checked by one schema. What is wrong is said in a sentence that names
 * the key, its value, what was expected, and where it stands.
 */
import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { DataError, HeedError } from '../core/errors.js';
import type { Field, Fields, Values } from './fields.js';
import { suggestion } from './nearest.js';

export * from './fields.js';
export * from './phases.js';

/** Something about how a command was called or configured; the command line ends with status 2. */
export class UsageError extends HeedError {
  override readonly name = 'UsageError';
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_INVALID_ARGUMENT', message, options);
  }
}

/** Values by key, and for messages where they come from: a file, `--set`, a flag. */
export interface Source {
  readonly where: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** How a key is written there: `--learning-rate`. Default: as it is. */
  readonly nameOf?: (key: string) => string;
}

/** How long a run is can be said in several ways: the last source that says it decides, whichever way the others chose. */
const kLengths = ['iterations', 'steps', 'epochs'];

/**
 * One table of options from several sources; later ones win. `undefined` and `null` leave an option as it was.
 *
 * @throws UsageError naming the first key that is unknown, with the nearest that exists, or whose value cannot be
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
    throw new UsageError(`${where}: there is no option ${key}${suggestion(key, Object.keys(fields))}`);
  }
  const key = String(issue.path[0]);
  const shown = typeof given[key] === 'number' ? String(given[key]) : JSON.stringify(given[key]);
  throw new UsageError(`${where}: ${nameOf(key)} is ${shown}, ${fields[key]!.expected}`);
}

/**
 * A configuration file as it stands: YAML, of which JSON is a part.
 *
 * @throws DataError naming the file, and the line where it is not YAML
 */
export async function readConfig(file: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new DataError(code === 'ENOENT' ? 'does not exist' : message, { file }, { cause });
  }
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
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new DataError('is not a table of keys and values', { file });
  }
  return value as Record<string, unknown>;
}

/**
 * The part of a configuration that is for one command: keys of its own at the top, and its section. Sections of other commands, in a
 * file that several share, are left out.
 *
 * @param section the command's name
 * @param others names of sections that may stand beside it
 */
export function sectionOf(
  config: Readonly<Record<string, unknown>>,
  section: string,
  others: readonly string[],
): Record<string, unknown> {
  const own: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(config)) {
    if (key !== section && !(others.includes(key) && isTable(value))) own[key] = value;
  }
  const inner = config[section];
  if (inner === undefined || inner === null) return own;
  if (!isTable(inner)) return { ...own, [section]: inner }; // an option may be called as its command: it is checked as such
  return { ...own, ...inner };
}

/**
 * `key=value` as typed after `--set`, for one command: `learningRate=1e-4` or `sft.learningRate=1e-4`.
 *
 * @throws UsageError if there is no `=`, or the key is of another section
 */
export function parseSet(fields: Fields, assignment: string, section: string): Record<string, unknown> {
  const at = assignment.indexOf('=');
  if (at < 1) throw new UsageError(`--set ${assignment}: expected key=value`);
  const path = assignment.slice(0, at);
  const key = path.startsWith(`${section}.`) ? path.slice(section.length + 1) : path;
  return { [key]: parseText(fields[key], assignment.slice(at + 1)) };
}

/** A value as it is typed: what is no number where one is expected stays a text, for the schema to refuse. */
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

/** The flag of an option: `learningRate` is `--learning-rate`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Values that differ from an option's default or were given: what a run's config.json holds is all of them, without the undefined. */
export function toJson(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function mapValues<T, U>(table: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, map(value)]));
}
