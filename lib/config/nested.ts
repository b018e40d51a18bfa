/** Configurations with sections, each with its own table of options. */
import { isObject } from '../core/json.js';
import type { Field, Fields, Values } from './fields.js';
import { parseText, resolve, type Source, UsageError } from './index.js';
import { suggestion } from './nearest.js';

/** Options at the top level and sections of options, by name. */
// biome-ignore lint/suspicious/noExplicitAny: fields of any type
export type Sections = Readonly<Record<string, Field<any, any> | Fields>>;

/** The values of all sections, defaults filled in. */
export type SectionValues<S extends Sections> = {
  // biome-ignore lint/suspicious/noExplicitAny: fields of any type
  readonly [K in keyof S]: S[K] extends Field<any, any>
    ? Values<{ readonly value: S[K] }>['value']
    : S[K] extends Fields
      ? Values<S[K]>
      : never;
};

/**
 * The values of one configuration from several sources; later sources win, option by option.
 *
 * @throws UsageError naming the first key that is unknown, with the nearest that exists, or whose value is invalid
 */
export function resolveSections<S extends Sections>(sections: S, sources: readonly Source[]): SectionValues<S> {
  for (const { where, values } of sources) {
    for (const [key, value] of Object.entries(values)) {
      if (!Object.hasOwn(sections, key))
        throw new UsageError(`${where}: there is no option ${key}${suggestion(key, Object.keys(sections))}`);
      if (!isField(sections[key]!) && value !== undefined && value !== null && !isObject(value))
        throw new UsageError(`${where}: ${key} is ${JSON.stringify(value)}, expected a section of options`);
    }
  }
  const found = Object.entries(sections).map(([key, section]) => {
    if (isField(section)) {
      const own = sources.map(({ where, values }) => ({ where, values: { [key]: values[key] } }));
      return [key, resolve({ [key]: section }, own)[key]];
    }
    const inside = sources.map(({ where, values }) => ({
      where,
      values: (values[key] ?? {}) as Record<string, unknown>,
      nameOf: (option: string) => `${key}.${option}`,
    }));
    return [key, resolve(section, inside)];
  });
  return Object.fromEntries(found) as SectionValues<S>;
}

/** Parses `ppo.learningRate=0` after `--set` as `{ppo: {learningRate: 0}}`. @throws UsageError without a `=` */
export function parseSectionSet(sections: Sections, assignment: string): Record<string, unknown> {
  const at = assignment.indexOf('=');
  if (at < 1) throw new UsageError(`--set ${assignment}: expected key=value`);
  const [section, ...rest] = assignment.slice(0, at).split('.') as [string, ...string[]];
  const text = assignment.slice(at + 1);
  const table = Object.hasOwn(sections, section) ? sections[section] : undefined;
  if (rest.length === 0) return { [section]: parseText(table && isField(table) ? table : undefined, text) };
  const option = rest.join('.');
  return { [section]: { [option]: parseText(table && !isField(table) ? table[option] : undefined, text) } };
}

// biome-ignore lint/suspicious/noExplicitAny: fields of any type
const isField = (entry: Field<any, any> | Fields): entry is Field<any, any> => typeof entry.kind === 'string';
