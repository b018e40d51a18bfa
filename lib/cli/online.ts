/** What the commands of objectives on sampled groups of responses share. */
import { type grpoFields, UsageError, type Values } from '../config/index.js';
import { readPrompts } from '../data/index.js';
import { dataConcerns, onlineConcerns } from '../phases/concerns.js';
import type { OnlineMetrics, StepMetrics } from '../phases/metrics.js';
import type { OnlineOptions, OnlinePlan, OnlineResult } from '../phases/online.js';
import type { LanguageModel } from '../runtime/model.js';
import { stopTokensOf } from '../text/stop.js';
import type { Context } from './command.js';
import { Loader, newAdapter, requireFrozen, requireOneAdapter } from './load.js';
import { onlineWork } from './memory.js';
import { lengthFor, readModelFolder, templateFor } from './models.js';
import { planRewards, positionsOf, rewardOf } from './rewards.js';
import { readData, sayPlan, short, train, weightsFor } from './training.js';

/** Options that all of these commands have. */
type OnlineValues = Omit<Values<typeof grpoFields>, 'loss' | 'scaleRewards' | 'clipRangeHigh'>;
type Given = Pick<OnlineOptions, 'prompts' | 'describe' | 'stopTokens'>;

interface OnlineCommand {
  readonly name: string;
  plan(given: Given): OnlinePlan;
  start(
    options: Given &
      Pick<OnlineOptions, 'policy' | 'reference' | 'run' | 'signal' | 'onProgress'> & {
        readonly reward: NonNullable<OnlineOptions['reward']>;
      },
  ): AsyncGenerator<OnlineMetrics & StepMetrics, OnlineResult, void>;
}

export async function runOnline(values: OnlineValues, context: Context, o: OnlineCommand): Promise<void> {
  const folder = await readModelFolder(values.policy!, 'language', values.adapter);
  const lora = newAdapter(values);
  requireOneAdapter(folder, lora);
  requireFrozen(values.int8, folder, lora);
  const rewarding = await planRewards(o.name, values, folder);
  const { tokenizer, config } = folder;
  const maxLength = Math.min(lengthFor(values.maxLength, folder), positionsOf(rewarding));
  const room = maxLength - values.maxNewTokens;
  if (room < 1)
    throw new UsageError(
      `--max-new-tokens is ${values.maxNewTokens}, expected fewer than the ${maxLength} tokens of a sequence, to leave room for a prompt`,
    );
  const template = await templateFor(values.template, tokenizer);
  const reading = { tokenizer, maxLength, maxNewTokens: values.maxNewTokens, template };
  const weights = weightsFor(values.prompts!, values.weights);
  const data = await readData(context, 'prompts', values.prompts!, room, (files, hooks) =>
    readPrompts(files, { ...reading, ...hooks, weights }),
  );
  const given: Given = {
    prompts: data.items.map(({ tokens }) => tokens),
    describe: (i) => data.items[i]!.text,
    stopTokens: stopTokensOf(folder),
  };
  const plan = o.plan(given);
  const { totalSteps, stepsPerIteration } = plan;
  const longest = given.prompts.reduce((most, { length }) => Math.max(most, length), 0);
  const treeTokens = longest + values.samplesPerPrompt * values.maxNewTokens;
  const maxTokens = Math.max(values.maxTokens, treeTokens);
  const episodes = values.batchSize * values.samplesPerPrompt;
  await sayPlan(
    context,
    [
      `plan: ${Math.ceil(totalSteps / stepsPerIteration)} iterations of ${episodes} responses to ${values.batchSize} prompts, ${stepsPerIteration} steps each: ${totalSteps} steps`,
    ],
    values,
    maxTokens,
    onlineWork({
      config,
      lora: lora ?? folder.adapter?.lora,
      isNew: lora !== undefined,
      rewards: [rewarding.folder ?? [], rewarding.named.map((each) => each.folders)].flat(2).map((each) => each.config),
      int8: values.int8,
      gradientCheckpointing: values.gradientCheckpointing,
      minibatchTokens: Math.ceil(values.batchSize / Math.min(values.minibatches, values.batchSize)) * treeTokens,
      maxLength: longest + values.maxNewTokens,
      sampling: { promptLength: longest, maxNewTokens: values.maxNewTokens, count: episodes, slots: values.slots },
    }),
  );
  if (context.dryRun) return;

  let policy: LanguageModel;
  let loader: Loader;
  await train<OnlineMetrics, OnlineResult>(context, {
    command: o.name,
    values,
    maxTokens,
    tokenizerFrom: folder.tokenizerDir,
    totalSteps,
    note: ({ score, kl, entropy, length, tiedGroups }) =>
      `score ${short(score)}, KL ${short(kl)}, entropy ${short(entropy)}, length ${short(length)}, all alike ${Math.round(100 * tiedGroups)} %`,
    async start({ engine, run, signal, onProgress }) {
      loader = new Loader(engine, signal, values.int8);
      policy = await loader.language(folder, lora);
      const { reward } = await rewardOf(rewarding, values, folder, data.items, loader, true);
      // The initial policy is its base, which needs no copy.
      const reference = lora ? await loader.before(folder, lora) : undefined;
      return o.start({ ...given, policy, reference, reward, run, signal, onProgress });
    },
    concerns: (_result, last) => [
      ...dataConcerns('prompts', data.items.length, 0, data.report.rows - data.report.kept),
      ...(last.length > 0 ? onlineConcerns(last.at(-1)!) : []),
    ],
    samples: () => ({
      folder,
      prompts: given.prompts,
      split: 'train',
      model: policy,
      before: () => loader.before(folder, lora),
    }),
    finish({ stopped }) {
      if (stopped) context.log.line(`stopped early: the KL per response exceeded ${values.stopAtKl} nats`);
    },
  });
}
