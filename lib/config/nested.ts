/** Configurations with sections, checked by a zod schema of their own. */
import { parse } from 'yaml';
import type { z } from 'zod';
import { type Source, UsageError } from './index.js';
import { suggestion } from './nearest.js';

type Table = Readonly<Record<string, unknown>>;

/**
 * One configuration from several sources; later ones win, key by key within the sections.
 *
 * @throws UsageError naming the first key that is unknown, with the nearest that exists, or whose value cannot be
 */
export function resolveNested<T>(schema: z.ZodType<T>, sources: readonly Source[]): T {
  let merged: Table = {};
  for (const { where, values } of sources) {
    merged = merge(merged, values);
    const result = schema.safeParse(merged);
    if (!result.success) throw new UsageError(`${where}: ${explain(schema, merged, result.error.issues[0]!)}`);
  }
  return schema.parse(merged);
}

/** `ppo.learningRate=0` as `{ppo: {learningRate: 0}}`; the value is read as YAML. @throws UsageError without a `=` */
export function parseNestedSet(assignment: string): Record<string, unknown> {
  const at = assignment.indexOf('=');
  if (at < 1) throw new UsageError(`--set ${assignment}: expected key=value`);
  const value: unknown = parse(assignment.slice(at + 1), { logLevel: 'silent' });
  return assignment
    .slice(0, at)
    .split('.')
    .reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Record<string, unknown>;
}

function merge(a: Table, b: Table): Table {
  const merged: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) {
    if (value === undefined || value === null) continue;
    const before = merged[key];
    merged[key] = isTable(before) && isTable(value) ? merge(before, value) : value;
  }
  return merged;
}

function explain(schema: z.ZodType, values: Table, issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const inSection = (key: string) => [...path, key].join('.');
    const name = inSection(issue.keys[0]!);
    return `there is no option ${name}${suggestion(name, keysAt(schema, path).map(inSection))}`;
  }
  const value = path.reduce<unknown>((inner, key) => (inner as Table | undefined)?.[key], values);
  const expected = plainly(issue.message);
  return `${path.join('.')} is ${JSON.stringify(value)}, ${expected}`;
}

const kWords: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'an integer',
  string: 'a text',
  boolean: 'true or false',
  object: 'a table of options',
  array: 'a list',
};

/** zod's "Too small: expected number to be >=0" as "expected a number of at least 0". */
function plainly(message: string): string {
  return message
    .replace(/^.*?expected/i, 'expected')
    .replace(/, received.*$/, '')
    .replace(/expected (\w+)/, (all, word: string) => (kWords[word] ? `expected ${kWords[word]}` : all))
    .replace(/to be >=/, 'of at least ')
    .replace(/to be >/, 'above ')
    .replace(/to be <=/, 'of at most ')
    .replace(/to be </, 'below ');
}

/** The names of the options in one section of a schema. */
function keysAt(schema: z.ZodType, path: readonly string[]): string[] {
  let at: unknown = schema;
  for (const key of [...path, undefined]) {
    for (;;) {
      const inner = (at as { def?: { innerType?: unknown } }).def?.innerType; // a default's, an optional's
      if (inner === undefined) break;
      at = inner;
    }
    const { shape } = at as { shape?: Record<string, unknown> };
    if (shape === undefined) return [];
    if (key === undefined) return Object.keys(shape);
    at = shape[key];
  }
  return [];
}

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
