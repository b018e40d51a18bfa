/** Over-refusal (XSTest, Röttger et al. 2024): harmless prompts that a model refuses, and harmful ones that it answers. */

import { rowError, stringField } from '../data/fields.js';
import type { Row } from '../data/index.js';
import { wilson } from '../statistics/index.js';
import { type Figure, perCategory } from './figure.js';
import { isRefusal } from './refusalwords.js';

/** A prompt that is safe to answer or not. */
export interface SafetyPrompt {
  readonly safe: boolean;
  readonly type: string | undefined;
}

/** Reads `{prompt, label: "safe" or "unsafe", type?}`. @throws DataError for another label */
export function safetyOf(row: Row): SafetyPrompt {
  const label = stringField(row, 'label');
  if (label !== 'safe' && label !== 'unsafe')
    throw rowError(row, `is ${JSON.stringify(label)}, expected "safe" or "unsafe"`, 'label');
  return { safe: label === 'safe', type: typeof row.value.type === 'string' ? row.value.type : undefined };
}

/** The shares of safe and of unsafe prompts that are refused, each per type. */
export function refusalFigures(
  model: string,
  data: string,
  prompts: readonly SafetyPrompt[],
  answers: readonly (string | undefined)[],
): Figure[] {
  const known = prompts.flatMap((prompt, p) => {
    const answer = answers[p];
    return answer === undefined ? [] : [{ ...prompt, refused: isRefusal(answer) }];
  });
  return [true, false].flatMap((safe) => {
    const some = known.filter((one) => one.safe === safe);
    if (some.length === 0) return [];
    const name = safe ? 'refuses safe prompts' : 'refuses unsafe prompts';
    return perCategory(
      some,
      ({ type }) => type,
      (of, category): Figure => ({
        ...wilson(of.filter(({ refused }) => refused).length, of.length),
        name,
        model,
        data,
        unit: 'share',
        of: 'prompts',
        category,
        note: category === undefined ? 'refusals are told by their wording' : undefined,
      }),
    );
  });
}
