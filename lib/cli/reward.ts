import { rewardFields, type Values } from '../config/index.js';
import { readDemonstrations, readRankings } from '../data/index.js';
import { rewardConcerns } from '../phases/concerns.js';
import { planReward, trainReward } from '../phases/reward.js';
import type { Command, Context } from './command.js';
import { Loader, newAdapter, requireFrozen, requireOneAdapter } from './load.js';
import { rewardWork } from './memory.js';
import { lengthFor, readModelFolder, templateFor } from './models.js';
import { readData, readTraining, sayPlan, short, train } from './training.js';

export const reward: Command<typeof rewardFields> = {
  name: 'reward',
  summary: 'phase 2: train a reward model on ranked responses',
  about: `A prompt and all its responses are one batch element, for which the prompt is computed once; all pairs that are not ties are compared.
--model is the SFT model, whose trunk gets a fresh head, or a reward model to train further. At the end the scores are shifted so
that demonstrations score 0 on average.`,
  fields: rewardFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'rankings: {"prompt": …, "responses": [a, b, c], "ranks": [0, 1, 1]}',
      'heed reward --model runs/sft/model --data rankings.jsonl --out runs/reward --learning-rate 3e-4',
    ],
    [
      'pairs: {"prompt": …, "chosen": …, "rejected": …}; scores are 0 on average for demonstrations',
      'heed reward --model runs/sft/model --data pairs.jsonl --demonstrations demos.jsonl --out runs/reward',
    ],
    [
      'print the plan and the memory',
      'heed reward --model runs/sft/model --data rankings.jsonl --out runs/reward --dry-run',
    ],
  ],
  trains: true,
  run,
};

async function run(values: Values<typeof rewardFields>, context: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, undefined, values.adapter);
  const lora = newAdapter(values);
  requireOneAdapter(folder, lora);
  requireFrozen(values.int8, folder, lora);
  const { tokenizer, config } = folder;
  const maxLength = lengthFor(values.maxLength, folder);
  const read = {
    tokenizer,
    maxLength,
    overlong: values.overlong,
    template: await templateFor(values.template, tokenizer),
  };
  const {
    train: rankings,
    validation,
    concerns,
  } = await readTraining(context, 'rankings', values, maxLength, (files, hooks) =>
    readRankings(files, { ...read, ...hooks }),
  );
  const demonstrations =
    values.demonstrations &&
    (await readData(context, 'demonstrations', values.demonstrations, maxLength, (files, hooks) =>
      readDemonstrations(files, { ...read, ...hooks }),
    ));

  const phase = { ...values, rankings, validation, demonstrations: demonstrations?.items };
  const { totalSteps, skipped, batches } = planReward(phase);
  // A prompt and all its responses must fit into one pass.
  let largest = maxLength;
  for (const some of [rankings, validation])
    for (const { prompt, responses } of some)
      largest = Math.max(largest, prompt.length + responses.reduce((n, ids) => n + ids.length, 0));
  const maxTokens = Math.max(values.maxTokens, largest);
  const ties = skipped > 0 ? `, ${skipped} rankings that are all ties are skipped` : '';
  await sayPlan(
    context,
    [
      `plan: ${totalSteps} steps of ${values.batchSize} prompts (${batches.steps(1)} an epoch), ${validation.length} held out${ties}`,
    ],
    values,
    maxTokens,
    rewardWork({
      config,
      lora: lora ?? folder.adapter?.lora,
      int8: values.int8,
      gradientCheckpointing: values.gradientCheckpointing,
      stepTokens: values.batchSize * largest,
      maxLength,
    }),
  );
  if (context.dryRun) return;

  await train(context, {
    command: 'reward',
    values,
    maxTokens,
    tokenizerFrom: folder.tokenizerDir,
    totalSteps,
    note: ({ loss, accuracy, gradNorm }) =>
      `loss ${short(loss)}, pairs correct ${percent(accuracy)}, gradient ${short(gradNorm)}`,
    remark: ({ validationAccuracy }) =>
      validationAccuracy === undefined ? undefined : `held-out pairs ${percent(validationAccuracy)}`,
    async start({ engine, run, signal, onProgress }) {
      const model = await new Loader(engine, signal, values.int8).scalar(folder, values.seed, lora);
      return trainReward({ ...phase, model, run, signal, onProgress });
    },
    concerns: (result) => [...concerns, ...rewardConcerns(result)],
    finish({ validation: found, offset, offsetFrom, scale, demonstrationStd }) {
      if (found) {
        const { accuracy, low, high, pairs, prompts } = found;
        context.log.line(
          `held-out pairs ordered correctly: ${percent(accuracy)} [${percent(low)}, ${percent(high)}], ${pairs} pairs of ${prompts} prompts`,
        );
      }
      const of = offsetFrom === 'best-ranked' ? 'best-ranked responses' : 'demonstrations';
      if (offsetFrom !== 'none')
        context.log.line(
          `scores were shifted by ${short(offset)}: ${of} score 0 on average, standard deviation ${short(demonstrationStd ?? 0)}`,
        );
      if (scale !== 1)
        context.log.line(`give heed ppo --reward-scale ${short(scale)}: scores then have a standard deviation of 1`);
    },
  });
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
