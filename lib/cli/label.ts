import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { labelFields, UsageError, type Values } from '../config/index.js';
import { DataError, HeedError, whyUnreadable } from '../core/errors.js';
import { readSomeRows } from '../data/rows.js';
import { openFeedback } from '../feedback/database.js';
import { feedbackRows, kindIn } from '../feedback/rows.js';
import { urlsOf } from '../http/addresses.js';
import { createServer, listen } from '../http/server.js';
import { answeredItem, exported, type ForeignLabel, imported, itemOf, leftOut } from '../label/exchange.js';
import { Importer } from '../label/importer.js';
import { kResponses, type Labelling, labelling, type NewItem, type SampledModel } from '../label/index.js';
import { Store } from '../label/store.js';
import { Engine } from '../runtime/engine.js';
import { type Command, type Context, machineOf } from './command.js';
import { Loader } from './load.js';
import { type ModelFolder, namesOf, namingFolder, readModelFolder, templateFor } from './models.js';
import { RowWriter, writeOut } from './output.js';

export const label: Command<typeof labelFields> = {
  name: 'label',
  summary: 'a page on which people rate and rank responses',
  about: `Samples responses and serves a page: each output is rated alone, then all are ranked, as in the InstructGPT paper. Labels go into one
file, which heed reward, dpo, kto and sft read with --data. The links that are printed are the only way in.`,
  fields: labelFields,
  required: ['out'],
  positional: 'out',
  examples: [
    [
      'rank four responses of a model to each prompt',
      'heed label --model runs/sft/model --prompts prompts.jsonl --out labels.db',
    ],
    [
      'three people, a fifth of the prompts by two of them, and a reward model that chooses the next prompt',
      'heed label --model runs/sft/model --prompts prompts.jsonl --out labels.db --labelers Ada Bea Cem --learn --order uncertain',
    ],
    ['which of two checkpoints is better', 'heed label --mode pair --model a --models b --prompts p.jsonl --out ab.db'],
    ['the labels as rows', 'heed label labels.db --export labels.jsonl'],
  ],
  trains: false,
  stopping: 'stopping: every label is saved',
  run,
};

async function run(values: Values<typeof labelFields>, context: Context): Promise<void> {
  if (values.import) await importLabels(values, context);
  if (values.export !== undefined) return await exportLabels(values, context);
  if (values.import && !values.model && !values.prompts) return;
  await serve(values, context);
}

async function serve(values: Values<typeof labelFields>, { signal, log }: Context): Promise<void> {
  const out = values.out!;
  const prompts = await readItems(values, { signal, log });
  const guidelines = values.guidelines === undefined ? '' : await readText(values.guidelines);
  const folders: ModelFolder[] = [];
  for (const dir of [values.model ?? [], values.models ?? []].flat())
    folders.push(await readModelFolder(dir, 'language'));
  if (values.learn && folders.length === 0)
    throw new UsageError('--learn needs --model: what the reward model starts from');
  if (values.rewardModel !== undefined && !values.learn) throw new UsageError('--reward-model needs --learn');
  if (values.rewardModel !== undefined && existsSync(values.rewardModel) && !statSync(values.rewardModel).isDirectory())
    throw new UsageError(
      `--reward-model ${values.rewardModel} is a file, expected a folder that the model is saved in`,
    );
  if (values.repeats + values.attentionFraction > 1)
    throw new UsageError(
      `--repeats is ${values.repeats} and --attention-fraction ${values.attentionFraction}, expected at most 1 together`,
    );
  if (values.order === 'uncertain' && !values.learn) throw new UsageError('--order uncertain needs --learn');
  const engine =
    folders.length === 0
      ? undefined
      : await Engine.create({
          ...machineOf(values),
          maxTokens: Math.max(values.maxTokens, ...folders.map(({ config }) => config.maxPositions)),
          signal,
        });
  let page: Labelling | undefined;
  const app = createServer();
  try {
    const models = engine ? await loadModels(engine, folders, values, signal) : [];
    const names = values.labelers ?? [];
    const { ensemble, learningRate, batchSize, epochs, loraR, rewardModel: saveTo } = values;
    page = labelling({
      ...values,
      out,
      prompts,
      models,
      guidelines,
      attention: values.attentionFraction,
      double: values.double ?? (names.length > 1 ? 0.2 : 0),
      stop: values.stop,
      heldOut: values.learn ? values.heldOut : 0,
      learning: values.learn
        ? { ensemble, learningRate, batchSize, epochs, loraR, saveTo, tokenizerFrom: folders[0]!.tokenizerDir }
        : undefined,
      onFailure: (error) => log.line(`sampling stopped: ${error instanceof Error ? error.message : error}`),
    });
    for (const name of values.revoke ?? []) log.line(`${name}: ${await page.revoke(name)} links are invalid now`);
    const items = await page.items();
    if (items.ready === 0 && items.waiting === 0 && items.unusable > 0)
      throw new UsageError(
        `${out} has no prompt with enough distinct responses (${items.unusable} have too few): --model DIR samples them`,
      );
    if (items.total === 0) throw new UsageError(`${out} has no prompts to label: give some with --prompts FILE`);
    if (models.length === 0 && items.unusable > 0)
      log.line(`${items.unusable} of ${items.total} prompts have too few responses: --model DIR samples them`);
    await app.register(page);
    const url = await listen(app, { host: values.host, port: values.port });
    const urls = urlsOf(url, values.host);
    for (const name of new Set([values.owner, ...names])) {
      const invitation = await page.invite(name);
      for (const one of urls) await writeOut(`${name}: ${one}/${invitation}\n`);
    }
    log.line(`labels go to ${out}; Ctrl-C ends`);
    await aborted(signal);
  } finally {
    await app.close();
    await page?.close();
    await engine?.dispose();
  }
}

async function readItems(
  { prompts, attention, k, mode }: Values<typeof labelFields>,
  { signal, log }: Pick<Context, 'signal' | 'log'>,
): Promise<NewItem[]> {
  const items: NewItem[] = [];
  for (const file of prompts ?? []) {
    let left = 0;
    for (const row of await readSomeRows(file, { signal, kind: 'prompts' })) {
      const { ranks: _, ...item } = row.isFeedback ? (answeredItem(row, k ?? kResponses[mode]) ?? {}) : itemOf(row); // what others thought of it is not shown
      if ('prompt' in item) items.push(item);
      else left++;
    }
    if (left > 0) log.line(`${file}: ${left} prompts are left out, which the page cannot show: of tools, or empty`);
  }
  for (const file of attention ?? [])
    for (const row of await readSomeRows(file, { signal })) {
      const item = itemOf(row);
      if (!item.ranks) throw new DataError('is missing, expected the known ranks', { ...row, field: 'ranks' });
      items.push(item);
    }
  return items;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new HeedError('ERR_IO', `--guidelines ${file} ${whyUnreadable(cause)}`, { cause });
  }
}

async function loadModels(
  engine: Engine,
  folders: readonly ModelFolder[],
  values: Values<typeof labelFields>,
  signal: AbortSignal,
): Promise<SampledModel[]> {
  const loader = new Loader(engine, signal);
  const models: SampledModel[] = [];
  const names = namesOf(folders.map(namingFolder));
  for (const [m, folder] of folders.entries()) {
    models.push({
      name: names[m]!,
      model: await loader.language(folder),
      tokenizer: folder.tokenizer,
      template: await templateFor(values.template, folder.tokenizer),
    });
  }
  return models;
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });

const kindsOf = { rankings: 'rankings', thumbs: 'feedback', demonstrations: 'demonstrations' } as const;

async function exportLabels(values: Values<typeof labelFields>, { log }: Context): Promise<void> {
  const database = await openFeedback(values.out!, { readOnly: true });
  const writer = await RowWriter.open(values.export);
  try {
    const kind = values.kind === 'auto' ? kindIn(database) : kindsOf[values.kind];
    const rows = [...exported(feedbackRows(database, kind, { all: values.format === 'jsonl' }), values.format)];
    if (values.format === 'label-studio')
      await writer.write(rows); // a file to import is one list
    else for (const row of rows) await writer.write(row);
    await writer.finish();
    log.line(`${values.export === '-' ? 'standard output' : values.export}: ${rows.length} rows`);
    const left = leftOut(database, kind, values.format);
    if (left.length > 0) log.line(`not in them: ${left.join(', ')}`);
  } catch (error) {
    await writer.abandon();
    throw error;
  } finally {
    database.close();
  }
}

async function importLabels(values: Values<typeof labelFields>, { log, signal }: Context): Promise<void> {
  const labels: ForeignLabel[] = [];
  const lost = new Map<string, number>();
  const onLost = (what: string) => void lost.set(what, (lost.get(what) ?? 0) + 1);
  for (const file of values.import!)
    for (const row of await readSomeRows(file, { signal })) labels.push(...imported(row, values.format, onLost));
  const database = await openFeedback(values.out!);
  try {
    const importer = new Importer(new Store(database));
    const added: ForeignLabel[] = [];
    database.transaction(() => {
      for (const label of labels) if (importer.add(label)) added.push(label);
    })();
    const kinds = ['ranking', 'thumb', 'demonstration'] as const;
    const found = kinds.flatMap((kind) => {
      const of = (list: readonly ForeignLabel[]) => list.filter((one) => one.kind === kind).length;
      return of(labels) === 0 ? [] : [`${of(added)} of ${of(labels)} ${kind}s are new`];
    });
    log.line(`${values.out}: ${found.length === 0 ? 'no labels in these rows' : found.join(', ')}`);
    if (lost.size > 0)
      log.line(`not kept: ${Array.from(lost, ([what, count]) => `${what} (${count} of ${labels.length})`).join(', ')}`);
  } finally {
    database.close();
  }
}
