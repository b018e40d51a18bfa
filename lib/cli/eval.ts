import { basename, dirname } from 'node:path';
import { evalFields, flagOf, UsageError, type Values } from '../config/index.js';
import { version } from '../core/package.js';
import { Frame, type Row } from '../data/index.js';
import { readSomeRows } from '../data/rows.js';
import { type Answers, readEvaluatedPrompts, readOutputs, renderedPrompts } from '../evaluate/answers.js';
import { choiceFigures, choiceOf } from '../evaluate/choices.js';
import { diversityFigures } from '../evaluate/diversity.js';
import type { Figure } from '../evaluate/figure.js';
import { compareScores, type Judged, judgeByPair, judgeByScore, modelScores } from '../evaluate/judges.js';
import { comparisonsOf, readLabels } from '../evaluate/labels.js';
import type { Measured } from '../evaluate/likelihood.js';
import { perplexityFigures } from '../evaluate/perplexity.js';
import { questionFigures, questionOf } from '../evaluate/questions.js';
import { refusalFigures, safetyOf } from '../evaluate/refusals.js';
import { type EvalReport, writeEval } from '../evaluate/report.js';
import { sampleAnswers } from '../evaluate/sample.js';
import { sentenceSets, stereotypeFigures } from '../evaluate/stereotypes.js';
import { calibrate, labeledTextOf, toxicityFigures } from '../evaluate/toxicity.js';
import { winReport } from '../evaluate/wins.js';
import { namedReward } from '../rewards/spec.js';
import { Engine } from '../runtime/engine.js';
import type { LanguageModel } from '../runtime/model.js';
import { type Command, type Context, machineOf } from './command.js';
import { evalTable } from './evaltable.js';
import { Loader } from './load.js';
import { type ModelFolder, readModelFolder, templateFor } from './models.js';
import { writeOut } from './output.js';

type EvalValues = Values<typeof evalFields>;

export const evaluate: Command<typeof evalFields> = {
  name: 'eval',
  summary: 'who is preferred, what alignment costs, whose values: with intervals',
  about: `Compares language models, or files of their outputs. Every option that names data adds a measure; the figures are printed, and written with
their intervals, counts and the agreement of judges into DIR/eval.json and DIR/eval.html. docs/evaluation.md has the rows and formulas.`,
  fields: evalFields,
  required: ['out'],
  examples: [
    [
      'win rates by a held-out reward model and by people',
      'heed eval --models runs/sft/model runs/ppo/model --prompts prompts.jsonl --judge runs/gold/model --labels labels.jsonl --out runs/eval',
    ],
    [
      'outputs of any models in files, by a service',
      'heed eval --outputs a.jsonl b.jsonl --judge judge:http://localhost:8080/v1#qwen --out runs/eval',
    ],
    [
      'what alignment costs',
      'heed eval --models runs/sft/model runs/ppo/model --perplexity held-out.txt --choices truthfulqa.jsonl --stereotypes crows.jsonl --out runs/cost',
    ],
  ],
  trains: false,
  run,
};

const kMeasures = ['perplexity', 'choices', 'stereotypes', 'questions', 'refusals'] as const;

async function run(values: EvalValues, context: Context): Promise<void> {
  const { signal, log } = context;
  requireSense(values);
  const folders = await Promise.all((values.models ?? []).map((dir) => readModelFolder(dir, 'language')));
  const names = namesOf(folders.map(({ dir, adapter }) => adapter?.dir ?? dir));
  const judges = await Promise.all(
    (values.judge ?? []).map(async (text) => {
      const named = await namedReward(text);
      return { ...named, folder: named.reward ? undefined : await readModelFolder(named.name, 'scalar') };
    }),
  );
  const scorerFolder = values.toxicity === undefined ? undefined : await readModelFolder(values.toxicity, 'scalar');
  const asked = values.prompts && (await readEvaluatedPrompts(values.prompts, { signal }));
  const first = folders[0] ?? judges.find(({ folder }) => folder)?.folder;
  const rendered =
    asked && first
      ? renderedPrompts(new Frame(first.tokenizer, await templateFor(values.template, first.tokenizer)), asked)
      : undefined;
  const read = await readOutputs(values.outputs ?? [], asked, { signal, rendered });
  const { prompts } = read;
  const answers: Answers[] = [...read.answers];
  const clash = names.find((name) => answers.some(({ model }) => model === name));
  if (clash !== undefined) throw new UsageError(`--models and --outputs both have a model ${clash}`);
  const labels = values.labels ? await readLabels(values.labels, { signal }) : [];
  const people = values.labels ? comparisonsOf(labels) : undefined;

  const figures: Figure[] = [];
  const notes: string[] = [];
  if (read.unasked > 0)
    notes.push(`${read.unasked} outputs are to prompts that are not among --prompts and were left out`);
  const maxTokens = Math.max(values.maxTokens, ...folders.map(({ config }) => config.maxPositions));
  const engine = await Engine.create({ ...machineOf(values), maxTokens, signal });
  const judged: Judged[] = [];
  try {
    const loader = new Loader(engine, signal);
    const sets = await readSets(values, signal);
    for (const [m, folder] of folders.entries()) {
      const model = await loader.language(folder);
      const name = names[m]!;
      try {
        if (asked) {
          const frame = new Frame(folder.tokenizer, await templateFor(values.template, folder.tokenizer));
          const texts = await sampled(model, folder, renderedPrompts(frame, asked), values, context, name);
          answers.splice(m, 0, { model: name, texts, dir: folder.dir });
        }
        figures.push(...(await measured(model, folder, name, sets, values, context)));
      } finally {
        await model.dispose();
      }
    }
    for (const { model, texts } of answers) {
      const missing = texts.filter((text) => text === undefined).length;
      if (missing > 0) notes.push(`${model} has no output to ${missing} of ${prompts.length} prompts`);
    }
    for (const { name, reward, folder } of judges) {
      const label = folder ? (namesOf([folder.adapter?.dir ?? folder.dir])[0] as string) : name;
      log.line(`judge: ${label}`);
      if (folder) {
        const model = await loader.scalar(folder, values.seed);
        const frame = new Frame(folder.tokenizer, await templateFor(values.template, folder.tokenizer));
        const texts = asked ? renderedPrompts(frame, asked) : prompts.map(({ text }) => frame.promptText(text));
        judged.push(compareScores(label, prompts, answers, await modelScores(model, frame, texts, answers, signal)));
        await model.dispose();
      } else {
        const limits = {
          timeout: 1000 * values.judgeTimeout,
          retries: values.judgeRetries,
          concurrency: values.judgeConcurrency,
          signal,
        };
        const by = name.startsWith('judge:') ? judgeByPair : judgeByScore;
        judged.push(await by(label, reward!, prompts, answers, limits));
      }
    }
    if (people) judged.push(people);
    for (const { judge, failed, lastError } of judged)
      if (failed > 0)
        notes.push(
          `${judge} did not judge ${failed} pairs${lastError === undefined ? ': too long' : `: ${lastError}`}`,
        );
    for (const { model, texts } of answers)
      figures.push(
        ...diversityFigures(
          model,
          values.prompts?.map((file) => basename(file)).join(' ') ?? 'outputs',
          texts.filter((text) => text !== undefined),
        ),
      );
    figures.push(...outputFigures(read.answers, prompts, sets));
    if (scorerFolder) {
      const model = await loader.scalar(scorerFolder, values.seed);
      const rows = (await Promise.all(values.toxicityLabels!.map((file) => readSomeRows(file, { signal })))).flat();
      const scorer = await calibrate(scorerFolder.dir, model, scorerFolder.tokenizer, rows.map(labeledTextOf), {
        signal,
      });
      for (const { model: name, texts } of answers)
        figures.push(
          ...(await toxicityFigures(
            name,
            'outputs',
            texts.filter((text) => text !== undefined),
            scorer,
          )),
        );
      await model.dispose();
    }
  } finally {
    await engine.dispose();
  }
  const categories = new Map<string | number, string | undefined>([
    ...labels.map(({ item, category }) => [item, category] as const),
    ...prompts.map(({ text, category }) => [text, category] as const),
  ]);
  const compared = judged.filter(({ comparisons }) => comparisons.length > 0);
  const wins =
    judged.length === 0
      ? undefined
      : winReport(compared, {
          seed: values.seed,
          models: answers.map(({ model }) => model),
          categoryOf: (prompt) => categories.get(prompt),
        });
  const report: EvalReport = {
    kind: 'eval',
    version,
    date: new Date().toISOString(),
    command: `heed eval ${context.args.join(' ')}`,
    models: modelsOf(answers, names, folders, wins?.rates ?? []),
    prompts: prompts.length || new Set(labels.map(({ item }) => item)).size,
    wins,
    figures,
    samples: prompts.slice(0, 8).map(({ text, category }, p) => ({
      prompt: text,
      category,
      answers: answers.flatMap(({ model, texts }) =>
        texts[p] === undefined ? [] : [{ model, text: texts[p] as string }],
      ),
    })),
    notes,
  };
  const file = await writeEval(values.out!, report);
  await writeOut(evalTable(report));
  log.line(file);
}

/** @throws UsageError naming what is missing */
function requireSense(values: EvalValues): void {
  const { models, outputs, prompts, judge, labels, toxicity, toxicityLabels } = values;
  if (!models && !outputs && !labels)
    throw new UsageError('heed eval needs --models DIR..., --outputs FILE... or --labels FILE...: what to evaluate');
  if (judge && !outputs && !(models && prompts))
    throw new UsageError('--judge needs outputs to compare: --models with --prompts, or --outputs');
  for (const key of kMeasures)
    if (values[key] && !models && key !== 'questions')
      throw new UsageError(`${flagOf(key)} needs --models DIR...: whose it is measured`);
  if (values.questions && !models && !outputs)
    throw new UsageError('--questions needs --models DIR... or --outputs FILE...: who answers');
  if ((toxicity === undefined) !== (toxicityLabels === undefined))
    throw new UsageError(
      '--toxicity DIR and --toxicity-labels FILE need each other: a scorer, and what tells how good it is',
    );
  if (models && !prompts && !kMeasures.some((key) => values[key]))
    throw new UsageError(
      `heed eval needs --prompts FILE..., or data of a measure: ${kMeasures.map(flagOf).join(', ')}`,
    );
}

/** Short names of folders that differ: `sft` for runs/sft/model. */
function namesOf(dirs: readonly string[]): string[] {
  const short = dirs.map((dir) => {
    const name = basename(dir);
    return name === 'model' && basename(dirname(dir)) !== '' ? basename(dirname(dir)) : name;
  });
  return short.map((name, i) => (short.indexOf(name) === short.lastIndexOf(name) ? name : dirs[i]!));
}

interface Sets {
  readonly choices: readonly (readonly [file: string, rows: readonly Row[]])[];
  readonly questions: Sets['choices'];
  readonly stereotypes: Sets['choices'];
  readonly refusals: Sets['choices'];
}

/** All rows of the measures, read first so that a mistake in a file is found before models are loaded. */
async function readSets(values: EvalValues, signal: AbortSignal): Promise<Sets> {
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

async function sampled(
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
async function measured(
  model: LanguageModel,
  folder: ModelFolder,
  name: string,
  sets: Sets,
  values: EvalValues,
  context: Context,
): Promise<Figure[]> {
  const { signal, log } = context;
  const { tokenizer } = folder;
  const frame = new Frame(tokenizer, await templateFor(values.template, tokenizer));
  const figures: Figure[] = [];
  const o: Measured = { model, tokenizer, signal };
  for (const file of values.perplexity ?? []) figures.push(...(await perplexityFigures(name, file, o)));
  for (const [file, rows] of sets.choices) {
    const stage = log.stage(`${name}: ${basename(file)}`, rows.length, 'questions');
    figures.push(
      ...(await choiceFigures(name, basename(file), rows.map(choiceOf), {
        ...o,
        onProgress: (done) => stage.update(done),
      })),
    );
    stage.end();
  }
  for (const [file, rows] of sets.stereotypes)
    figures.push(...(await stereotypeFigures(name, basename(file), sentenceSets(rows), o)));
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
    figures.push(...questionFigures(name, basename(file), questions, texts));
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
    figures.push(...refusalFigures(name, basename(file), rows.map(safetyOf), texts));
  }
  return figures;
}

/** Exact match and F1 of outputs in files: the questions are found by their prompts. */
function outputFigures(
  answers: readonly Answers[],
  prompts: readonly { readonly text: string }[],
  { questions }: Sets,
): Figure[] {
  const places = new Map(prompts.map(({ text }, p) => [text, p]));
  return questions.flatMap(([file, rows]) =>
    answers.flatMap(({ model, texts }) => {
      const asked = rows.map(questionOf);
      return questionFigures(
        model,
        basename(file),
        asked,
        asked.map(({ prompt }) => {
          const place = places.get(prompt);
          return place === undefined ? undefined : texts[place];
        }),
      );
    }),
  );
}

function modelsOf(
  answers: readonly Answers[],
  names: readonly string[],
  folders: readonly ModelFolder[],
  rates: readonly { readonly model: string; readonly against: string }[],
): EvalReport['models'] {
  const all = [
    ...new Set([
      ...names,
      ...answers.map(({ model }) => model),
      ...rates.flatMap(({ model, against }) => [against, model]),
    ]),
  ];
  return all.map((model) => {
    const at = names.indexOf(model);
    const found = answers.find((one) => one.model === model);
    return {
      model,
      from: at >= 0 ? (folders[at]!.adapter?.dir ?? folders[at]!.dir) : found ? 'a file of outputs' : 'labels',
      outputs: found?.texts.filter((text) => text !== undefined).length ?? 0,
    };
  });
}
