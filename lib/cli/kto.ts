import { ktoFields, type Values } from '../config/index.js';
import { readFeedback } from '../data/index.js';
import { planKto, trainKto } from '../phases/kto.js';
import type { Command, Context } from './command.js';
import { runOffline } from './offline.js';

export const kto: Command<typeof ktoFields> = {
  name: 'kto',
  summary: 'preference optimisation on single responses that were called good or bad',
  about: `Kahneman-Tversky optimisation: learns from thumbs up and down, as services collect them. Where one of the two is much rarer, raise its
weight (--desirable-weight, --undesirable-weight).`,
  fields: ktoFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'feedback: {"prompt": …, "response": …, "label": true}',
      'heed kto --model runs/sft/model --data feedback.jsonl --out runs/kto',
    ],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof ktoFields>, context: Context): Promise<void> {
  return runOffline(values, context, {
    name: 'kto',
    what: 'feedback',
    read: readFeedback,
    plan: ({ train, validation }) => planKto({ ...values, feedback: train, validation }),
    start: ({ train, validation }, options) => trainKto({ ...values, feedback: train, validation, ...options }),
  });
}
