import { ppoFields, UsageError, type Values } from '../config/index.js';
import { readDocuments, readPrompts } from '../data/index.js';
import { dataConcerns, ppoConcerns } from '../phases/concerns.js';
import type { PpoMetrics } from '../phases/metrics.js';
import { type PpoResult, trainPpo } from '../phases/ppo/index.js';
import { type PpoOptions, planPpo } from '../phases/ppo/options.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { stopTokensOf } from '../text/stop.js';
import type { Command, Context } from './command.js';
import { Loader, type NewAdapter, newAdapter, requireFrozen, requireOneAdapter, sharesBase } from './load.js';
import { ppoWork } from './memory.js';
import { lengthFor, readModelFolder, templateFor } from './models.js';
import { planRewards, positionsOf, rewardOf } from './rewards.js';
import { readData, sayPlan, short, train, weightsFor } from './training.js';

export const ppo: Command<typeof ppoFields> = {
  name: 'ppo',
  summary: 'phase 3: PPO, or PPO-ptx, against a reward model',
  about: `Each iteration samples responses, scores them, and takes --minibatches steps. A KL penalty per
token keeps the policy close to the SFT model; with --pretrain, a loss on documents preserves what it knew (PPO-ptx).`,
  fields: ppoFields,
  required: ['policy', 'prompts', 'out'],
  examples: [
    [
      'a small model',
      'heed ppo --policy runs/sft/model --reward-model runs/reward/model --prompts prompts.jsonl --out runs/ppo --batch-size 256 --minibatches 4 --iterations 40 --learning-rate 3e-4 --value-learning-rate 1e-3 --kl-coef 0.1',
    ],
    [
      'PPO-ptx',
      'heed ppo --policy runs/sft/model --reward-model runs/reward/model --prompts prompts.jsonl --pretrain books.txt.gz --out runs/ppo-ptx',
    ],
    [
      'low-rank adapters: policy, value network, reward model and reference share the weights of one base',
      'heed ppo --policy llama --reward-model runs/reward/model --prompts prompts.jsonl --lora-r 16 --learning-rate 1e-4 --out runs/ppo',
    ],
    ['options from a file', 'heed ppo --config ppo.yaml --set learningRate=1e-5'],
  ],
  trains: true,
  run,
};

async function run(values: Values<typeof ppoFields>, context: Context): Promise<void> {
  const folder = await readModelFolder(values.policy!, 'language', values.adapter);
  const lora = newAdapter(values);
  requireOneAdapter(folder, lora);
  requireFrozen(values.int8, folder, lora);
  const rewarding = await planRewards('ppo', values, folder);
  const rewardFolder = rewarding.folder;
  const { tokenizer, config } = folder;
  const maxLength = Math.min(lengthFor(values.maxLength, folder), positionsOf(rewarding));
  const template = await templateFor(values.template, tokenizer);
  const read = { tokenizer, maxLength, maxNewTokens: values.maxNewTokens, template };
  const room = maxLength - values.maxNewTokens;
  if (room < 1)
    throw new UsageError(
      `--max-new-tokens is ${values.maxNewTokens}, expected fewer than the ${maxLength} tokens of a sequence, to leave room for a prompt`,
    );
  const weights = weightsFor(values.prompts!, values.weights);
  const data = await readData(context, 'prompts', values.prompts!, room, (files, hooks) =>
    readPrompts(files, { ...read, ...hooks, weights }),
  );
  const documents =
    values.pretrain &&
    (await readData(context, 'pretraining', values.pretrain, maxLength, (files, hooks) =>
      readDocuments(files, { ...read, ...hooks }),
    ));

  const phase = {
    ...values,
    prompts: data.items.map(({ tokens }) => tokens),
    describe: (i: number) => data.items[i]!.text,
    stopTokens: stopTokensOf(folder),
    pretrain: documents?.items,
  };
  const { totalSteps, stepsPerIteration } = planPpo(phase);
  const longest = data.items.reduce((most, { tokens }) => Math.max(most, tokens.length), 0);
  const maxTokens = Math.max(
    values.maxTokens,
    longest + values.samplesPerPrompt * values.maxNewTokens,
    documents ? maxLength : 0,
  );
  const episodes = values.batchSize * values.samplesPerPrompt;
  await sayPlan(
    context,
    [
      `plan: ${Math.ceil(totalSteps / stepsPerIteration)} iterations of ${episodes} responses, ${stepsPerIteration} steps each: ${totalSteps} steps`,
      `klCoef ${values.klCoef}${values.klTarget === undefined ? '' : `, adjusted towards ${values.klTarget} nats`}, ${documents ? `ptxCoef ${values.ptxCoef} (PPO-ptx)` : 'no pretraining loss'}`,
    ],
    values,
    maxTokens,
    ppoWork({
      config,
      lora: lora ?? folder.adapter?.lora,
      isNew: lora !== undefined,
      reward: {
        config: rewardFolder?.config ?? config, // without a reward model, the value network starts from the policy
        lora: rewardFolder?.adapter?.lora,
        valueLora: rewardFolder?.adapter?.lora ?? lora,
        sharesBase: rewardFolder !== undefined && sharesBase(folder, rewardFolder),
      },
      int8: values.int8,
      gradientCheckpointing: values.gradientCheckpointing,
      minibatchTokens:
        Math.ceil(values.batchSize / Math.min(values.minibatches, values.batchSize)) *
        (longest + values.samplesPerPrompt * values.maxNewTokens),
      maxLength: longest + values.maxNewTokens,
      sampling: {
        promptLength: longest,
        maxNewTokens: values.maxNewTokens,
        count: episodes,
        slots: values.slots,
      },
      ema: values.ema > 0,
      pretrain: documents && { tokens: Math.max(values.ptxTokens, maxLength), maxLength },
    }),
  );
  if (context.dryRun) return;

  let policy: LanguageModel;
  let loader: Loader;
  await train<PpoMetrics, PpoResult>(context, {
    command: 'ppo',
    values,
    maxTokens,
    tokenizerFrom: folder.tokenizerDir,
    totalSteps,
    note: ({ score, kl, entropy, length, finished }) =>
      `score ${short(score)}, KL ${short(kl)}, entropy ${short(entropy)}, length ${short(length)}, ended ${Math.round(100 * finished)} %`,
    async start({ engine, run, signal, onProgress }) {
      loader = new Loader(engine, signal, values.int8);
      policy = await loader.language(folder, lora);
      const { model, reward } = await rewardOf(rewarding, values, folder, data.items, loader, lora !== undefined);
      // The initial policy is its base, which needs no copy.
      const reference = lora ? await loader.before(folder, lora) : undefined;
      const value = await initialValue(
        model,
        reward,
        () => loader.scalar(folder, values.seed, lora),
        lora,
        values.rewardScale,
      );
      return trainPpo({ ...phase, policy, reference, reward, value, run, signal, onProgress });
    },
    concerns: (_result, last) => [
      ...dataConcerns('prompts', data.items.length, 0, data.report.rows - data.report.kept),
      ...(last.length > 0 ? ppoConcerns(last.at(-1)!) : []),
    ],
    samples: () => ({
      folder,
      prompts: phase.prompts,
      split: 'train',
      model: policy,
      before: () => loader.before(folder, lora),
    }),
    finish({ stopped }) {
      if (stopped) context.log.line(`stopped early: the KL per response exceeded ${values.stopAtKl} nats`);
    },
  });
}

/**
 * The initial value network where it is not what `trainPpo` makes: as an adapter to the reward model, which it shares, or to the policy's
 * base; or a copy of a reward model that is one of several rewards.
 */
async function initialValue(
  model: ScalarModel | undefined,
  reward: PpoOptions['reward'],
  fromPolicy: () => Promise<ScalarModel>,
  lora: NewAdapter | undefined,
  rewardScale: number,
): Promise<ScalarModel | undefined> {
  if (lora && !model) return await fromPolicy();
  const isNew = lora !== undefined && !model!.lora;
  if (!model || (!isNew && model === reward)) return undefined;
  const value = isNew ? await model.adapter(lora) : await model.clone();
  if (rewardScale !== 1) await value.scaleScores(rewardScale);
  return value;
}
