/** Rewards as the command line names them: `0.5*numeric:answer`. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DataError, HeedError } from '../core/errors.js';
import { isObject } from '../core/json.js';
import { passesTests } from './code.js';
import { httpReward, shownUrl } from './http.js';
import type { Ensemble } from './index.js';
import { judge } from './judge.js';
import type { TextReward } from './types.js';
import { exactMatch, matches, matchesSchema, numericMatch } from './verifiers.js';

/** A reward as named. */
export interface NamedReward {
  readonly name: string;
  readonly weight: number;
  readonly reward: TextReward | NamedModels;
}

/** Folders of reward models, which are not read yet: one, or an ensemble. */
export interface NamedModels {
  readonly folders: readonly string[];
  readonly by: Ensemble['by'];
}

const ensembles: readonly string[] = ['mean', 'worst', 'uncertainty'] satisfies Ensemble['by'][];

const kinds: Readonly<Record<string, (argument: string) => TextReward | Promise<TextReward>>> = {
  exact: (field) => exactMatch(field || undefined),
  numeric: (field) => numericMatch(field || undefined),
  tests: (field) => passesTests({ field: field || undefined }),
  regex: (pattern) => matches(new RegExp(pattern, 'u')),
  schema: async (file) => matchesSchema(await readSchema(file)),
  judge: (argument) => {
    const [url, model] = argument.split('#');
    if (!url || !model) throw new HeedError('ERR_INVALID_ARGUMENT', 'expected judge:URL#MODEL');
    return judge({ url, model, apiKey: process.env.HEED_JUDGE_KEY });
  },
};

/**
 * `WEIGHT*` before one of: `exact:FIELD`, `numeric:FIELD`, `tests:FIELD` (the field of a prompt's row), `regex:PATTERN`, `schema:FILE`,
 * `judge:URL#MODEL`, an http or https URL, a JavaScript module whose default export is a reward of text, the folder of a reward model, or
 * an ensemble of them: `mean:DIR,DIR`, `worst:DIR,DIR`, `uncertainty:DIR,DIR`.
 *
 * @throws HeedError naming the reward that is none of these
 */
export async function namedReward(text: string): Promise<NamedReward> {
  const [, factor, name] = text.match(/^(?:(-?[\d.]+(?:e[+-]?\d+)?)\*)?([\s\S]*)$/)!;
  const weight = factor === undefined ? 1 : Number(factor);
  const kind = name!.match(/^([a-z]+):/)?.[1];
  try {
    if (!Number.isFinite(weight))
      throw new HeedError('ERR_INVALID_ARGUMENT', `its weight is ${factor}, expected a number`);
    if (kind === 'http' || kind === 'https') {
      const url = new URL(name!);
      return { name: shownUrl(url), weight, reward: httpReward(url) };
    }
    if (kind !== undefined && Object.hasOwn(kinds, kind))
      return { name: name!, weight, reward: await kinds[kind]!(name!.slice(kind.length + 1)) };
    if (kind !== undefined && ensembles.includes(kind))
      return { name: name!, weight, reward: modelsOf(kind as Ensemble['by'], name!.slice(kind.length + 1)) };
    if (/\.[cm]?js$/.test(name!)) return { name: name!, weight, reward: await moduleReward(name!) };
    if (existsSync(name!)) return { name: name!, weight, reward: { folders: [name!], by: 'mean' } };
  } catch (cause) {
    const shown = URL.canParse(name!) ? shownUrl(new URL(name!)) : name;
    throw new HeedError('ERR_INVALID_ARGUMENT', `reward ${shown}: ${(cause as Error).message}`, { cause });
  }
  throw new HeedError(
    'ERR_INVALID_ARGUMENT',
    `reward ${name}: there is no such file or folder, and it is not exact:, numeric:, tests:, regex:, schema:, judge:, mean:, worst:, uncertainty: or a URL`,
  );
}

function modelsOf(by: Ensemble['by'], list: string): NamedModels {
  const folders = list.split(',');
  if (folders.length < 2)
    throw new HeedError('ERR_INVALID_ARGUMENT', `expected ${by}:DIR,DIR with two folders or more`);
  const missing = folders.find((folder) => !existsSync(folder));
  if (missing !== undefined)
    throw new HeedError('ERR_INVALID_ARGUMENT', `there is no folder ${JSON.stringify(missing)}`);
  return { folders, by };
}

async function readSchema(file: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new DataError(`cannot be read as JSON: ${(cause as Error).message}`, { file }, { cause });
  }
  if (isObject(value)) return value;
  throw new DataError('is not a JSON object, expected a JSON Schema', { file });
}

async function moduleReward(file: string): Promise<TextReward> {
  const { default: reward } = (await import(pathToFileURL(resolve(file)).href)) as { default?: unknown };
  if (typeof reward === 'function') return reward as TextReward;
  throw new DataError(`has the default export ${typeof reward}, expected a function of answers`, { file });
}
