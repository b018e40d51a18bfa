import { flagOf, pretrainFields, UsageError, type Values } from '../config/index.js';
import { readDocuments } from '../data/index.js';
import { modelConfig, requireOfFamily } from '../huggingface/config.js';
import { supervisedConcerns } from '../phases/concerns.js';
import { planPretrain, trainPretrain } from '../phases/pretrain.js';
import { Engine } from '../runtime/engine.js';
import { LanguageModel } from '../runtime/model.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { type Command, type Context, machineOf } from './command.js';
import { parameterCount, supervisedWork } from './memory.js';
import { lengthFor, type ModelFolder, readModelFolder } from './models.js';
import { sayBest, supervisedNote, supervisedRemark } from './sft.js';
import { readTraining, sayPlan, thousands, train } from './training.js';

export const pretrain: Command<typeof pretrainFields> = {
  name: 'pretrain',
  summary: 'train a base model on documents, or continue training one',
  about: `Trains a new model of the given sizes: llama (rotary positions, SwiGLU), gpt2 (learned positions, as in the paper) or another
--family. Documents end with the end-of-text token; long ones are split into windows of --max-length tokens.`,
  fields: pretrainFields,
  required: ['data', 'out'],
  examples: [
    [
      'a tokenizer, then a model of about a million parameters',
      'heed tokenizer --data books.txt.gz --vocab-size 2048 --out tokenizer\n  heed pretrain --data books.txt.gz --tokenizer tokenizer --out runs/base',
    ],
    [
      'a larger one',
      'heed pretrain --data corpus.jsonl.gz --tokenizer tokenizer --num-layers 6 --channels 384 --num-heads 6 --max-positions 512 --out runs/base',
    ],
    [
      'continue training a model on other text',
      'heed pretrain --model runs/base/model --data law.txt --learning-rate 3e-4 --out runs/law',
    ],
  ],
  trains: true,
  run,
};

async function run(values: Values<typeof pretrainFields>, context: Context): Promise<void> {
  const folder = await baseOf(values);
  const { tokenizer, config } = folder;
  const maxLength = lengthFor(values.maxLength, folder);
  const {
    train: documents,
    validation,
    concerns,
  } = await readTraining(context, 'documents', values, maxLength, (files, hooks) =>
    readDocuments(files, { tokenizer, maxLength, ...hooks }),
  );
  const phase = { ...values, documents, validation };
  const { totalSteps, batches } = planPretrain(phase);
  const maxTokens = Math.max(values.maxTokens, maxLength);
  let parameters = 0;
  await Engine.plan({ ...machineOf(values), maxTokens }, async (engine) => {
    parameters = await parameterCount(engine, config);
  });
  await sayPlan(
    context,
    [
      `model: ${thousands(parameters)} parameters, ${config.family}, ${config.numLayers} layers of ${config.channels} channels`,
      `plan: ${totalSteps} steps of at most ${values.batchTokens} tokens (${batches.steps(1)} an epoch), ${validation.length} windows held out`,
    ],
    values,
    maxTokens,
    supervisedWork({
      config,
      dropout: values.dropout,
      gradientCheckpointing: values.gradientCheckpointing,
      stepTokens: Math.max(values.batchTokens, maxLength),
      maxLength,
      keepsBest: validation.length > 0,
    }),
  );
  if (context.dryRun) return;

  await train(context, {
    command: 'pretrain',
    values,
    maxTokens,
    tokenizerFrom: folder.dir,
    totalSteps,
    note: supervisedNote,
    remark: supervisedRemark,
    async start({ engine, run, signal, onProgress }) {
      const model = values.model
        ? await LanguageModel.load(engine, folder.dir, { signal })
        : await LanguageModel.init(engine, config, {
            seed: values.seed,
            specialTokens: {
              bos: tokenizer.prefix[0] ?? tokenizer.endOfText,
              eos: tokenizer.endOfText,
              pad: tokenizer.pad,
            },
            signal,
          });
      return trainPretrain({ ...phase, model, run, signal, onProgress });
    },
    concerns: (_result, last) => [...concerns, ...(last.length > 0 ? supervisedConcerns(last, config.vocabSize) : [])],
    finish({ best }) {
      sayBest(context, best, values.keepBest, totalSteps);
    },
  });
}

/** The model to train further, or the configuration of a new one; `dir` has the tokenizer. */
async function baseOf(values: Values<typeof pretrainFields>): Promise<ModelFolder> {
  if (values.model !== undefined) {
    if (values.tokenizer !== undefined)
      throw new UsageError('--tokenizer is only for a new model: --model has its own');
    const sizes = [
      'family',
      'numLayers',
      'channels',
      'numHeads',
      'numKvHeads',
      'mlpChannels',
      'maxPositions',
      'tiedHead',
    ] as const;
    const given = sizes.find((key) => values[key] !== pretrainFields[key].default);
    if (given !== undefined)
      throw new UsageError(`${flagOf(given)} is only for a new model: --model has its own sizes`);
    const folder = await readModelFolder(values.model, 'language');
    if (folder.adapter)
      throw new UsageError(`${values.model} is an adapter, expected a model: merge it with heed merge`);
    return folder;
  }
  if (values.tokenizer === undefined)
    throw new UsageError('heed pretrain needs --tokenizer DIR for a new model: make one with heed tokenizer');
  const tokenizer = await Tokenizer.load(values.tokenizer);
  const { family, numLayers, channels, numHeads, numKvHeads = numHeads, mlpChannels, maxPositions, tiedHead } = values;
  if (channels % numHeads !== 0)
    throw new UsageError(`--num-heads is ${numHeads}, expected a divisor of --channels, ${channels}`);
  if (numHeads % numKvHeads !== 0)
    throw new UsageError(`--num-kv-heads is ${numKvHeads}, expected a divisor of --num-heads, ${numHeads}`);
  const config = modelConfig(family, {
    numLayers,
    numHeads,
    numKvHeads,
    channels,
    vocabSize: tokenizer.vocabSize,
    maxPositions,
    tiedHead,
    ...(mlpChannels === undefined ? {} : { mlpChannels }),
  });
  if (config.rope && config.headDim % 2 !== 0)
    throw new UsageError(`--channels / --num-heads is ${config.headDim}, expected an even number for rotary positions`);
  try {
    requireOfFamily(config);
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
  const kind = 'language';
  return {
    dir: values.tokenizer,
    tokenizerDir: values.tokenizer,
    tokenizer,
    config,
    kind,
    specialTokens: {},
    scoreOffset: 0,
    adapter: undefined,
    baseKind: kind,
  };
}
