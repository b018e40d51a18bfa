import { sftFields, UsageError, type Values } from '../config/index.js';
import { readDemonstrations, readDocuments } from '../data/index.js';
import { supervisedConcerns } from '../phases/concerns.js';
import type { SupervisedMetrics } from '../phases/metrics.js';
import { meanReward } from '../phases/selection.js';
import { planSft, trainSft } from '../phases/sft.js';
import type { Best } from '../phases/supervised.js';
import type { LanguageModel } from '../runtime/model.js';
import { stopTokensOf } from '../text/stop.js';
import type { Command, Context } from './command.js';
import { Loader, newAdapter, requireFrozen, requireOneAdapter } from './load.js';
import { supervisedWork } from './memory.js';
import { lengthFor, readModelFolder, requireSameTokens, templateFor } from './models.js';
import { promptsOf } from './samples.js';
import { readData, readTraining, sayPlan, short, thousands, train } from './training.js';

export const sft: Command<typeof sftFields> = {
  name: 'sft',
  summary: 'phase 1: fine-tune a language model on demonstrations',
  about: `The loss is on the responses only, including their end-of-text token. Text is used unchanged unless --template is given. Defaults
are those of the InstructGPT paper, chosen for a model of a billion parameters.`,
  fields: sftFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'demonstrations as {"prompt": …, "response": …}, one per line',
      'heed sft --model base --data demos.jsonl --out runs/sft --learning-rate 1e-3 --epochs 3',
    ],
    [
      "chat data, rendered with the tokenizer's own template",
      'heed sft --model base --data chats.jsonl.gz --template tokenizer --out runs/sft',
    ],
    [
      "the paper's start for PPO: two epochs with pretraining text mixed in",
      'heed sft --model base --data demos.jsonl --pretrain books.txt.gz --epochs 2 --out runs/start',
    ],
    [
      "choose the checkpoint as in the paper: by a reward model's scores of its responses to held-out prompts",
      'heed sft --model base --data demos.jsonl --reward-model runs/reward/model --out runs/sft',
    ],
    [
      'only a low-rank adapter; runs/sft/model then holds the adapter, which other commands take like a model',
      'heed sft --model llama --data demos.jsonl --lora-r 16 --learning-rate 2e-4 --epochs 3 --out runs/sft',
    ],
    ['continue after Ctrl-C', 'heed sft --out runs/sft --resume'],
  ],
  trains: true,
  run,
};

async function run(values: Values<typeof sftFields>, context: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, 'language', values.adapter);
  const lora = newAdapter(values);
  requireOneAdapter(folder, lora);
  requireFrozen(values.int8, folder, lora);
  const { tokenizer, config } = folder;
  const rewardFolder =
    values.rewardModel === undefined ? undefined : await readModelFolder(values.rewardModel, 'scalar');
  if (rewardFolder) requireSameTokens(folder, rewardFolder);
  const maxLength = lengthFor(values.maxLength, folder);
  const read = {
    tokenizer,
    maxLength,
    overlong: values.overlong,
    template: await templateFor(values.template, tokenizer),
  };
  const {
    train: sequences,
    validation,
    concerns,
  } = await readTraining(context, 'demonstrations', values, maxLength, (files, hooks) =>
    readDemonstrations(files, { ...read, ...hooks }),
  );
  const documents =
    values.pretrain &&
    (await readData(context, 'pretraining', values.pretrain, maxLength, (files, hooks) =>
      readDocuments(files, { ...read, ...hooks }),
    ));

  const isHeldOut = validation.length > 0;
  const prompts = promptsOf(isHeldOut ? validation : sequences);
  const answered = rewardFolder
    ? prompts.filter(({ length }) => length < Math.min(maxLength, rewardFolder.config.maxPositions))
    : [];
  if (rewardFolder && !(isHeldOut && answered.length > 0)) {
    throw new UsageError(
      '--reward-model needs held-out prompts, and there are none: give --validation or a larger --validation-fraction',
    );
  }

  const phase = {
    ...values,
    sequences,
    validation,
    pretrain: documents?.items,
  };
  const { totalSteps, batches } = planSft(phase);
  const maxTokens = Math.max(values.maxTokens, maxLength);
  await sayPlan(
    context,
    [
      `plan: ${totalSteps} steps of ${values.batchSize} sequences (${batches.steps(1)} an epoch), ${validation.length} held out`,
      ...(rewardFolder
        ? [`the checkpoint is chosen by ${rewardFolder.dir}: its mean score of ${answered.length} answers`]
        : []),
    ],
    values,
    maxTokens,
    supervisedWork({
      config,
      lora: lora ?? folder.adapter?.lora,
      dropout: values.dropout,
      int8: values.int8,
      gradientCheckpointing: values.gradientCheckpointing,
      stepTokens: values.batchSize * maxLength,
      maxLength,
      pretrainTokens: documents && Math.max(values.ptxTokens, maxLength),
      keepsBest: isHeldOut,
      ...(rewardFolder
        ? {
            chooser: {
              config: rewardFolder.config,
              promptLength: Math.max(...answered.map(({ length }) => length)),
              maxNewTokens: values.maxNewTokens,
              count: answered.length,
            },
          }
        : {}),
    }),
  );
  if (context.dryRun) return;

  let model: LanguageModel;
  let loader: Loader;
  await train(context, {
    command: 'sft',
    values,
    maxTokens,
    tokenizerFrom: folder.tokenizerDir,
    totalSteps,
    note: supervisedNote,
    remark: supervisedRemark,
    async start({ engine, run, signal, onProgress }) {
      loader = new Loader(engine, signal, values.int8);
      model = await loader.language(folder, lora);
      const evaluate =
        rewardFolder &&
        meanReward({
          reward: await loader.scalar(rewardFolder, values.seed, undefined, true),
          prompts: answered,
          maxNewTokens: values.maxNewTokens,
          stopTokens: stopTokensOf(folder),
          seed: values.seed,
        });
      return trainSft({ ...phase, evaluate, model, run, signal, onProgress });
    },
    concerns: (_result, last) => [...concerns, ...(last.length > 0 ? supervisedConcerns(last, config.vocabSize) : [])],
    samples: () => ({
      folder,
      prompts,
      split: isHeldOut ? 'instance' : 'train',
      model,
      before: () => loader.before(folder, lora),
    }),
    finish: ({ best }) => sayBest(context, best, values.keepBest, totalSteps),
  });
}

export function supervisedNote({
  loss,
  gradNorm,
  learningRate,
  tokensComputed,
  seconds,
}: SupervisedMetrics & { tokensComputed: number; seconds: number }): string {
  const speed = thousands(Math.round(tokensComputed / seconds));
  return `loss ${short(loss)}, gradient ${short(gradNorm)}, rate ${short(learningRate)}, ${speed} tokens/s`;
}

export function supervisedRemark({ best, ...found }: SupervisedMetrics): string | undefined {
  return validated(found) === '' ? undefined : `${validated(found)}${best ? ', the best so far' : ''}`;
}

/** Logs which weights the final model has, if there was a validation. */
export function sayBest({ log }: Context, best: Best | undefined, keepBest: boolean, totalSteps: number): void {
  if (!best) return;
  const place = `${validated(best)} after step ${best.step} of ${totalSteps}`;
  log.line(keepBest ? `the best weights are kept: ${place}` : `the last weights are kept; the best had ${place}`);
}

/** The result of a validation as text; empty if there was none. */
function validated({
  validationLoss,
  validationMetric,
}: Pick<SupervisedMetrics, 'validationLoss' | 'validationMetric'>): string {
  return [
    validationLoss !== undefined && `validation loss ${short(validationLoss)}`,
    validationMetric !== undefined && `mean reward ${short(validationMetric)}`,
  ]
    .filter(Boolean)
    .join(', ');
}
