/** What the commands of objectives on given responses share: data, plan, training, and what is said at the end. */
import type { dpoFields, Values } from '../config/index.js';
import type { DataOptions, Items, Loaded } from '../data/index.js';
import { offlineConcerns } from '../phases/concerns.js';
import type { OfflineMetrics, StepMetrics } from '../phases/metrics.js';
import type { OfflineOptions, OfflinePlan, OfflineResult } from '../phases/offline.js';
import type { Tree } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import type { Context } from './command.js';
import { Loader, newAdapter, requireFrozen, requireOneAdapter } from './load.js';
import { offlineWork } from './memory.js';
import { lengthFor, readModelFolder, templateFor } from './models.js';
import { readTraining, sayPlan, short, train } from './training.js';

/** Options that all of these commands have. */
type OfflineValues = Omit<Values<typeof dpoFields>, 'beta' | 'loss' | 'labelSmoothing'>;

interface OfflineCommand<T, Item extends Tree> {
  readonly name: string;
  /** The name of the data in messages. */
  readonly what: string;
  read(files: readonly string[], options: DataOptions): Promise<Loaded<T>>;
  plan(data: { train: Items<T>; validation: Items<T> }): OfflinePlan<Item>;
  start(
    data: { train: Items<T>; validation: Items<T> },
    options: OfflineOptions,
  ): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void>;
}

export async function runOffline<T, Item extends Tree>(
  values: OfflineValues,
  context: Context,
  o: OfflineCommand<T, Item>,
): Promise<void> {
  const folder = await readModelFolder(values.model!, 'language', values.adapter);
  const lora = newAdapter(values);
  requireOneAdapter(folder, lora);
  requireFrozen(values.int8, folder, lora);
  const { tokenizer, config } = folder;
  const maxLength = lengthFor(values.maxLength, folder);
  const template = await templateFor(values.template, tokenizer);
  const reading = { tokenizer, maxLength, overlong: values.overlong, template };
  const data = await readTraining(context, o.what, values, maxLength, (files, hooks) =>
    o.read(files, { ...reading, ...hooks }),
  );
  const plan = o.plan(data);
  const { totalSteps, batches, skipped } = plan;
  // A prompt and all its responses must fit into one pass.
  let largest = maxLength;
  for (const some of [plan.items, plan.validation])
    for (const { prompt, responses } of some)
      largest = Math.max(largest, prompt.length + responses.reduce((n, { length }) => n + length, 0));
  const maxTokens = Math.max(values.maxTokens, largest);
  const ties = skipped > 0 ? `, ${skipped} that are all ties are skipped` : '';
  await sayPlan(
    context,
    [
      `plan: ${totalSteps} steps of ${values.batchSize} prompts (${batches.steps(1)} an epoch), ${plan.validation.length} held out${ties}`,
    ],
    values,
    maxTokens,
    offlineWork({
      config,
      lora: lora ?? folder.adapter?.lora,
      int8: values.int8,
      gradientCheckpointing: values.gradientCheckpointing,
      stepTokens: values.batchSize * largest,
      maxLength,
    }),
  );
  if (context.dryRun) return;

  let model: LanguageModel;
  let loader: Loader;
  await train<OfflineMetrics, OfflineResult>(context, {
    command: o.name,
    values,
    maxTokens,
    tokenizerFrom: folder.tokenizerDir,
    totalSteps,
    note: ({ loss, accuracy, margin, gradNorm }) =>
      [
        `loss ${short(loss)}`,
        `${percent(accuracy)} in order`,
        margin !== undefined && `margin ${short(margin)}`,
        `gradient ${short(gradNorm)}`,
      ]
        .filter(Boolean)
        .join(', '),
    remark: ({ validationAccuracy }) =>
      validationAccuracy === undefined ? undefined : `held out: ${percent(validationAccuracy)} in order`,
    async start({ engine, run, signal, onProgress }) {
      loader = new Loader(engine, signal, values.int8);
      model = await loader.language(folder, lora);
      return o.start(data, { model, run, signal, onProgress });
    },
    concerns: (result, last) => [...data.concerns, ...offlineConcerns(result, last)],
    samples: () => {
      const isHeldOut = plan.validation.length > 0;
      return {
        folder,
        prompts: promptsOf(isHeldOut ? plan.validation : plan.items),
        split: isHeldOut ? 'instance' : 'train',
        model,
        before: () => loader.before(folder, lora),
      };
    },
    finish({ validation }) {
      if (validation)
        context.log.line(
          `held out: ${percent(validation.accuracy)} [${percent(validation.low)}, ${percent(validation.high)}] in order, loss ${short(validation.loss)}`,
        );
    },
  });
}

/** The first few distinct prompts. */
function promptsOf(items: Items<Tree>): Int32Array[] {
  const prompts = new Map<string, Int32Array>();
  for (const { prompt } of items) {
    const ids = Int32Array.from(prompt);
    prompts.set(ids.join(), ids);
    if (prompts.size === kPrompts) break;
  }
  return [...prompts.values()];
}

const kPrompts = 64;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
