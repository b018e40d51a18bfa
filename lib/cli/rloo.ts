import { rlooFields, type Values } from '../config/index.js';
import { planRloo, trainRloo } from '../phases/rloo.js';
import type { Command, Context } from './command.js';
import { runOnline } from './online.js';

export const rloo: Command<typeof rlooFields> = {
  name: 'rloo',
  summary: 'a policy against rewards, with the other responses as the baseline',
  about: `REINFORCE with a leave-one-out baseline: whole responses are actions, and the KL penalty is part of the reward.`,
  fields: rlooFields,
  required: ['policy', 'prompts', 'out'],
  examples: [
    [
      'a reward model',
      'heed rloo --policy runs/sft/model --reward-model runs/reward/model --prompts prompts.jsonl --out runs/rloo',
    ],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof rlooFields>, context: Context): Promise<void> {
  return runOnline(values, context, {
    name: 'rloo',
    plan: (given) => planRloo({ ...values, ...given }),
    start: (options) => trainRloo({ ...values, ...options }),
  });
}
