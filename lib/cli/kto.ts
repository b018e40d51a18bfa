import { ktoFields, type Values } from '../config/index.js';
import { type Feedback, type Items, readFeedback } from '../data/index.js';
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
    plan({ train, validation }) {
      warnOfOneKind(train, context);
      return planKto({ ...values, feedback: train, validation });
    },
    start: ({ train, validation }, options) => trainKto({ ...values, feedback: train, validation, ...options }),
  });
}

/** Responses of one kind alone say little about what to prefer. */
function warnOfOneKind(feedback: Items<Feedback>, { log }: Context): void {
  let good = 0;
  for (const { desirable } of feedback) if (desirable) good++;
  if (good > 0 && good < feedback.length) return;
  const kind = good > 0 ? 'good' : 'bad';
  log.line(
    `warning: all ${feedback.length} responses are called ${kind}: without the other kind, the model learns only to make them ${good > 0 ? 'likelier, as heed sft does' : 'rarer'}`,
  );
}
