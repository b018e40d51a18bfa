import { grpoFields, type Values } from '../config/index.js';
import { planGrpo, trainGrpo } from '../phases/grpo.js';
import type { Command, Context } from './command.js';
import { runOnline } from './online.js';

export const grpo: Command<typeof grpoFields> = {
  name: 'grpo',
  summary: 'a policy against rewards, with groups of responses in place of a value network',
  about: `Group relative policy optimisation: several responses to each prompt, of which those better than the mean of the group become more likely.
Made for rewards that can be checked: --reward numeric:answer compares with the field answer of the prompt's row.`,
  fields: grpoFields,
  required: ['policy', 'prompts', 'out'],
  examples: [
    [
      'a reward that is checked: {"prompt": …, "answer": "42"}',
      'heed grpo --policy runs/sft/model --prompts sums.jsonl --reward numeric:answer --out runs/grpo',
    ],
    [
      'a reward model, and a rule',
      'heed grpo --policy runs/sft/model --reward-model runs/reward/model --reward "0.2*regex:^[^!]*$" --prompts prompts.jsonl --out runs/grpo',
    ],
    [
      'the normalisations of Dr. GRPO',
      'heed grpo --policy runs/sft/model --prompts sums.jsonl --reward numeric:answer --loss drGrpo --scale-rewards none --out runs/grpo',
    ],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof grpoFields>, context: Context): Promise<void> {
  return runOnline(values, context, {
    name: 'grpo',
    plan: (given) => planGrpo({ ...values, ...given }),
    start: (options) => trainGrpo({ ...values, ...options }),
  });
}
