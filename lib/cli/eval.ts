import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { evalFields, flagOf, UsageError } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { version } from '../core/package.js';
import { Frame } from '../data/index.js';
import { readSomeRows } from '../data/rows.js';
import { type Answers, readEvaluatedPrompts, readOutputs, renderedPrompts } from '../evaluate/answers.js';
import { countedLabels } from '../evaluate/counted.js';
import { diversityFigures } from '../evaluate/diversity.js';
import type { Figure } from '../evaluate/figure.js';
import { compareScores, type Judged, judgeByPair, judgeByScore, modelScores } from '../evaluate/judges.js';
import { comparisonsOf, readLabels } from '../evaluate/labels.js';
import { type EvalReport, openEval, writeEval } from '../evaluate/report.js';
import { calibrate, labeledTextOf, toxicityFigures } from '../evaluate/toxicity.js';
import { winReport } from '../evaluate/wins.js';
import { namedReward } from '../rewards/spec.js';
import { Engine } from '../runtime/engine.js';
import { type Command, type Context, machineOf } from './command.js';
import { optimisedFor, withoutVerdict } from './evaljudges.js';
import { type EvalValues, measured, outputFigures, readSets, sampled } from './evalmeasures.js';
import { evalTable } from './evaltable.js';
import { differences, overOptimisation, whoseValues } from './evalvalues.js';
import { Loader } from './load.js';
import { type ModelFolder, namesOf, namingFolder, readModelFolder, templateFor } from './models.js';
import { writeOut } from './output.js';

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
  requireSense(values);
  const discard = await openEval(values.out!);
  try {
    await evaluateInto(values.out!, values, context);
  } catch (error) {
    await discard();
    throw error;
  }
}

async function evaluateInto(out: string, values: EvalValues, context: Context): Promise<void> {
  const { signal, log } = context;
  const folders = await Promise.all((values.models ?? []).map((dir) => readModelFolder(dir, 'language')));
  const names = namesOf(folders.map(namingFolder));
  const judges = await Promise.all(
    (values.judge ?? []).map(async (text) => {
      const { name, reward } = await namedReward(text);
      if (typeof reward === 'function') return { name, reward, folder: undefined };
      if (reward.folders.length > 1)
        throw new UsageError(`--judge ${name}: expected one judge, give the folders one after the other`);
      return { name, reward: undefined, folder: await readModelFolder(name, 'scalar') };
    }),
  );
  const scorerFolder = values.toxicity === undefined ? undefined : await readModelFolder(values.toxicity, 'scalar');
  const readPrompts = values.prompts && (await readEvaluatedPrompts(values.prompts, { signal }));
  const asked = readPrompts?.prompts;
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
  const [only, second] = [...names, ...answers.map(({ model }) => model)];
  if (values.judge && second === undefined)
    throw new UsageError(`--judge compares the outputs of two models or more, but there are those of one: ${only}`);
  const labelling = countedLabels(values.labels ? await readLabels(values.labels, { signal }) : []);
  const { labels } = labelling;
  const people = labels.some(({ models }) => models) ? comparisonsOf(labels) : undefined;

  const figures: Figure[] = [];
  const notes: string[] = [...labelling.notes];
  if (readPrompts && readPrompts.repeated > 0)
    notes.push(`${rowsAre(readPrompts.repeated)} left out of --prompts: an earlier row has the same prompt`);
  if (read.repeated > 0)
    notes.push(
      `${rowsAre(read.repeated)} left out of --outputs: an earlier one is of the same model to the same prompt`,
    );
  if (read.unasked > 0)
    notes.push(
      `${rowsAre(read.unasked)} left out of --outputs: the prompt is not among the ${prompts.length} of --prompts, first ${read.firstUnasked}`,
    );
  const maxTokens = Math.max(
    values.maxTokens,
    ...[...folders, ...judges.flatMap(({ folder }) => folder ?? []), ...(scorerFolder ? [scorerFolder] : [])].map(
      ({ config }) => config.maxPositions,
    ),
  );
  const engine = await Engine.create({ ...machineOf(values), maxTokens, signal });
  const judged: Judged[] = [];
  const silent: string[] = [];
  let valuesFound: EvalReport['values'];
  let overoptimisation: EvalReport['overoptimisation'];
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
        figures.push(...(await measured(model, folder, name, sets, values, context, notes)));
      } finally {
        await model.dispose();
      }
    }
    for (const { model, texts } of answers) {
      const missing = texts.filter((text) => text === undefined).length;
      if (missing > 0) notes.push(`${model} has no output to ${missing} of ${prompts.length} prompts`);
      const empty = texts.filter((text) => text?.trim() === '').length;
      if (empty > 0)
        notes.push(`${empty} of the ${texts.length - missing} outputs of ${model} ${empty === 1 ? 'is' : 'are'} empty`);
    }
    for (const { name, reward, folder } of judges) {
      const label = folder ? (namesOf([namingFolder(folder)])[0] as string) : shortName(name);
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
    else if (labels.length > 0) notes.push('the labels name no models: they count for whose values only');
    for (const one of judged) {
      const why = withoutVerdict(one, labels);
      if (why !== undefined) notes.push(why);
      if (why !== undefined && one.comparisons.length === 0) silent.push(why);
    }
    notes.push(...(await optimisedFor(judges, folders, names)));
    for (const { model, texts } of answers)
      figures.push(
        ...diversityFigures(
          model,
          values.prompts?.map((file) => basename(file)).join(' ') ?? 'outputs',
          texts.filter((text) => text !== undefined),
        ),
      );
    figures.push(...outputFigures(read.answers, prompts, sets, notes));
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
            texts.flatMap((text, p) => (text === undefined ? [] : [{ text, category: prompts[p]!.category }])),
            scorer,
          )),
        );
      await model.dispose();
    }
    if (values.labels) valuesFound = await whoseValues(labelling, values, loader, context);
    if (asked && values.divergence)
      figures.push(...(await differences(folders, names, asked, values, loader, context)));
    if (asked && values.gold !== undefined)
      overoptimisation = await overOptimisation(folders, names, asked, values, loader, context);
  } finally {
    await engine.dispose();
  }
  const categories = new Map<string | number, string | undefined>([
    ...labels.map(({ item, category }) => [item, category] as const),
    ...prompts.map(({ text, category }) => [text, category] as const),
  ]);
  const wins =
    silent.length === judged.length
      ? undefined
      : winReport(judged, {
          seed: values.seed,
          models: answers.map(({ model }) => model),
          categoryOf: (prompt) => categories.get(prompt),
        });
  const isEmpty = !wins && figures.length === 0 && !valuesFound && !overoptimisation;
  if (isEmpty) throw new HeedError('ERR_INVALID_ARGUMENT', `nothing was measured: ${notes.join('; ')}`);
  const report: EvalReport = {
    kind: 'eval',
    version,
    date: new Date().toISOString(),
    command: `heed eval ${context.args.join(' ')}`,
    models: modelsOf(answers, names, folders, wins?.rates ?? []),
    prompts: prompts.length || new Set(labels.map(({ item }) => item)).size,
    wins,
    figures,
    values: valuesFound,
    overoptimisation,
    samples: prompts.slice(0, 8).map(({ text, category }, p) => ({
      prompt: text,
      category,
      answers: answers.flatMap(({ model, texts }) =>
        texts[p] === undefined ? [] : [{ model, text: texts[p] as string }],
      ),
    })),
    notes,
  };
  const file = await writeEval(out, report);
  await writeOut(evalTable(report));
  log.line(file);
  if (judges.length > 0 && !wins)
    throw new HeedError('ERR_INVALID_ARGUMENT', `no judge compared two models: ${silent.join('; ')}`);
}

const rowsAre = (count: number) => `${count} ${count === 1 ? 'row was' : 'rows were'}`;

/** @throws UsageError naming what is missing */
function requireSense(values: EvalValues): void {
  const { models, outputs, prompts, judge, labels, toxicity, toxicityLabels } = values;
  if (!models && !outputs && !labels)
    throw new UsageError('heed eval needs --models DIR..., --outputs FILE... or --labels FILE...: what to evaluate');
  for (const key of ['models', 'judge', 'rewardModels', 'proxy'] as const) {
    const given = (values[key] ?? []).map((one) => (key === 'judge' && !existsSync(one) ? one : resolve(one)));
    const twice = given.findIndex((one, i) => given.indexOf(one) < i);
    if (twice >= 0) throw new UsageError(`${flagOf(key)} has ${values[key]![twice]} twice, expected each once`);
  }
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
  if (values.divergence && !(models && models.length > 1 && prompts))
    throw new UsageError(
      '--divergence needs two or more --models DIR... and --prompts FILE...: who differs from whom, and on what',
    );
  if (
    (values.gold === undefined) !== (values.proxy === undefined) ||
    (values.gold !== undefined && !(models && prompts))
  )
    throw new UsageError(
      '--proxy DIR..., --gold DIR, --models DIR... and --prompts FILE... need each other: what is optimised, what judges, whose samples',
    );
  for (const key of ['rewardModels', 'acrossLabelers'] as const)
    if (values[key] && !labels) throw new UsageError(`${flagOf(key)} needs --labels FILE...: whose preferences`);
  if (models && !prompts && !kMeasures.some((key) => values[key]))
    throw new UsageError(
      `heed eval needs --prompts FILE..., or data of a measure: ${kMeasures.map(flagOf).join(', ')}`,
    );
}

/** A module by its file's name; anything else as it was given. */
const shortName = (judge: string) => (/^[^:#]*\.[cm]?js$/.test(judge) ? basename(judge) : judge);

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
