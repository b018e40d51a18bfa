import { sftFields, type Values } from '../config.js';
import { readDemonstrations, readDocuments } from '../data.js';
import { LanguageModel } from '../model.js';
import type { SupervisedMetrics } from '../phases/metrics.js';
import { planSft, trainSft } from '../phases/sft.js';
import type { Command, Context } from './command.js';
import { lengthFor, readModelFolder, templateFor } from './models.js';
import { promptsOf, writeSamples } from './samples.js';
import { readData, readTraining, sayPlan, short, thousands, train } from './training.js';

export const sft: Command<typeof sftFields> = {
  name: 'sft',
  summary: 'phase 1: fine-tune a language model on demonstrations',
  about: `The loss is on the responses only, their end-of-text token included. Text is used as it is unless --template is given;
defaults are those of the InstructGPT paper, made for a model of a thousand million parameters.`,
  fields: sftFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'demonstrations as {"prompt": …, "response": …}, one per line',
      'heed sft --model base --data demos.jsonl --out runs/sft --learning-rate 1e-3 --epochs 3',
    ],
    [
      "chat data, framed by the tokenizer's own template",
      'heed sft --model base --data chats.jsonl.gz --template tokenizer --out runs/sft',
    ],
    [
      "the paper's start for PPO: two epochs with pretraining text mixed in",
      'heed sft --model base --data demos.jsonl --pretrain books.txt.gz --epochs 2 --out runs/start',
    ],
    ['go on after Ctrl-C', 'heed sft --out runs/sft --resume'],
  ],
  trains: true,
  run,
};

async function run(values: Values<typeof sftFields>, context: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, 'language');
  const { tokenizer, config } = folder;
  const maxLength = lengthFor(values.maxLength, folder);
  const read = {
    tokenizer,
    maxLength,
    overlong: values.overlong,
    template: await templateFor(values.template, tokenizer),
  };
  const { train: sequences, validation } = await readTraining(
    context,
    'demonstrations',
    values,
    maxLength,
    (files, hooks) => readDemonstrations(files, { ...read, ...hooks }),
  );
  const documents =
    values.pretrain &&
    (await readData(context, 'pretraining', values.pretrain, maxLength, (files, hooks) =>
      readDocuments(files, { ...read, ...hooks }),
    ));

  const { lrSchedule: schedule, pretrainMix: coefficient, pretrainTokens: tokens, ...options } = values;
  const phase = {
    ...options,
    schedule,
    sequences,
    validation,
    pretrainMix: documents && { documents: documents.items, coefficient, tokens },
  };
  const { totalSteps, batches } = planSft(phase);
  sayPlan(
    context,
    [
      `plan: ${totalSteps} steps of ${values.batchSize} sequences (${batches.steps(1)} an epoch), ${validation.length} held out`,
    ],
    [
      { config, kind: 'language', trained: true },
      ...(validation.length > 0 ? [{ config, kind: 'language', trained: false } as const] : []), // the best so far
    ],
    Math.min(values.maxTokens, values.batchSize * maxLength),
  );
  if (context.dryRun) return;

  let model: LanguageModel;
  await train(context, {
    command: 'sft',
    values,
    maxTokens: Math.max(values.maxTokens, maxLength),
    tokenizerFrom: folder.dir,
    totalSteps,
    note: supervisedNote,
    remark: supervisedRemark,
    async start({ engine, run, signal, onProgress }) {
      model = await LanguageModel.load(engine, folder.dir, { signal });
      return trainSft({ ...phase, model, run, signal, onProgress });
    },
    async finish({ best }, training) {
      if (best?.validationLoss !== undefined) {
        context.log.line(
          `the best weights are kept: validation loss ${short(best.validationLoss)} after step ${best.step} of ${totalSteps}`,
        );
      }
      const base = await LanguageModel.load(training.engine, folder.dir);
      const isHeldOut = validation.length > 0;
      const prompts = promptsOf(isHeldOut ? validation : sequences);
      await writeSamples(training, folder, prompts, isHeldOut ? 'instance' : 'train', [
        ['before', base],
        ['after', model],
      ]);
    },
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

export function supervisedRemark({ validationLoss, best }: SupervisedMetrics): string | undefined {
  return validationLoss === undefined
    ? undefined
    : `validation loss ${short(validationLoss)}${best ? ', the best so far' : ''}`;
}
