/** The measures of heed eval that a model or its outputs have each for itself. */
import { basename } from 'node:path';
import type { evalFields, Values } from '../config/index.js';
import { Frame, type Row } from '../data/index.js';
import { readSomeRows } from '../data/rows.js';
import { type Answers, quoted } from '../evaluate/answers.js';
import { choiceFigures, choiceOf } from '../evaluate/choices.js';
import type { Figure } from '../evaluate/figure.js';
import type { Measured } from '../evaluate/likelihood.js';
import { perplexityFigures } from '../evaluate/perplexity.js';
import { questionFigures, questionOf } from '../evaluate/questions.js';
import { refusalFigures, safetyOf } from '../evaluate/refusals.js';
import { sampleAnswers } from '../evaluate/sample.js';
import { sentenceSets, stereotypeFigures } from '../evaluate/stereotypes.js';
import type { LanguageModel } from '../runtime/model.js';
import type { Context } from './command.js';
import { type ModelFolder, templateFor } from './models.js';

export type EvalValues = Values<typeof evalFields>;

export interface Sets {
  readonly choices: readonly (readonly [file: string, rows: readonly Row[]])[];
  readonly questions: Sets['choices'];
  readonly stereotypes: Sets['choices'];
  readonly refusals: Sets['choices'];
}

/** All rows of the measures, read first so that a mistake in a file is found before models are loaded. */
export async function readSets(values: EvalValues, signal: AbortSignal): Promise<Sets> {
  const rowsOf = (files: readonly string[] | undefined) =>
    Promise.all((files ?? []).map(async (file) => [file, await readSomeRows(file, { signal })] as const));
  const sets = {
    choices: await rowsOf(values.choices),
    questions: await rowsOf(values.questions),
    stereotypes: await rowsOf(values.stereotypes),
    refusals: await rowsOf(values.refusals),
  };
  for (const [, rows] of sets.choices) rows.forEach(choiceOf);
  for (const [, rows] of sets.questions) rows.forEach(questionOf);
  for (const [, rows] of sets.refusals) rows.forEach(safetyOf);
  for (const [, rows] of sets.stereotypes) sentenceSets(rows);
  return sets;
}

export async function sampled(
  model: LanguageModel,
  { tokenizer }: ModelFolder,
  prompts: readonly string[],
  values: EvalValues,
  { signal, log }: Context,
  name: string,
  changes: Partial<Pick<EvalValues, 'temperature' | 'maxNewTokens' | 'stop'>> = {},
): Promise<(string | undefined)[]> {
  const stage = log.stage(`${name}: answers`, prompts.length, 'prompts');
  const { maxNewTokens, temperature, topK, topP, stop, seed } = { ...values, ...changes };
  const onProgress = (done: number) => stage.update(done);
  const texts = await sampleAnswers(model, prompts, {
    tokenizer,
    maxNewTokens,
    temperature,
    topK,
    topP,
    stop,
    seed,
    signal,
    onProgress,
  });
  stage.end();
  return texts;
}

/** The measures of a loaded model. */
export async function measured(
  model: LanguageModel,
  folder: ModelFolder,
  name: string,
  sets: Sets,
  values: EvalValues,
  context: Context,
  notes: string[],
): Promise<Figure[]> {
  const { signal, log } = context;
  const { tokenizer } = folder;
  const frame = new Frame(tokenizer, await templateFor(values.template, tokenizer));
  const figures: Figure[] = [];
  const add = (file: string, rows: readonly Row[], found: readonly Figure[]) => {
    figures.push(...found);
    if (found.length > 0) return;
    const all = rows.length === 1 ? 'its only row is' : `all ${rows.length} rows are`;
    const positions = model.config.maxPositions;
    notes.push(`${name} was not measured on ${basename(file)}: ${all} longer than its ${positions} positions`);
  };
  const o: Measured = { model, tokenizer, signal };
  for (const file of values.perplexity ?? []) figures.push(...(await perplexityFigures(name, file, o)));
  for (const [file, rows] of sets.choices) {
    const stage = log.stage(`${name}: ${basename(file)}`, rows.length, 'questions');
    const choices = rows.map(choiceOf);
    const onProgress = (done: number) => stage.update(done);
    add(file, rows, await choiceFigures(name, basename(file), choices, { ...o, onProgress }));
    stage.end();
  }
  for (const [file, rows] of sets.stereotypes)
    add(file, rows, await stereotypeFigures(name, basename(file), sentenceSets(rows), o));
  for (const [file, rows] of sets.questions) {
    const questions = rows.map(questionOf);
    const texts = await sampled(
      model,
      folder,
      questions.map(({ prompt }) => frame.promptText(prompt)),
      values,
      context,
      name,
      {
        temperature: 0,
        maxNewTokens: Math.min(values.maxNewTokens, 48),
        stop: values.stop ?? ['\n'],
      },
    );
    add(file, rows, questionFigures(name, basename(file), questions, texts));
  }
  for (const [file, rows] of sets.refusals) {
    const texts = await sampled(
      model,
      folder,
      rows.map((row) => frame.prompt(row)),
      values,
      context,
      name,
    );
    add(file, rows, refusalFigures(name, basename(file), rows.map(safetyOf), texts));
  }
  return figures;
}

/** Exact match and F1 of outputs in files: the questions are found by their prompts. Those without an output are noted. */
export function outputFigures(
  answers: readonly Answers[],
  prompts: readonly { readonly text: string }[],
  { questions }: Sets,
  notes: string[] = [],
): Figure[] {
  const places = new Map(prompts.map(({ text }, p) => [text, p]));
  return questions.flatMap(([file, rows]) =>
    answers.flatMap(({ model, texts }) => {
      const asked = rows.map(questionOf);
      const outputs = asked.map(({ prompt }) => {
        const place = places.get(prompt);
        return place === undefined ? undefined : texts[place];
      });
      const missing = outputs.filter((text) => text === undefined).length;
      const first = outputs.indexOf(undefined);
      if (missing > 0)
        notes.push(
          `${model} has no output to ${missing} of the ${rows.length} questions of ${basename(file)}, first ${quoted(asked[first]!.prompt)} (${file}:${rows[first]!.line})`,
        );
      return questionFigures(model, basename(file), asked, outputs);
    }),
  );
}
