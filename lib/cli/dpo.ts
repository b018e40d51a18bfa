import { dpoFields, type Values } from '../config/index.js';
import { readRankings } from '../data/index.js';
import { planDpo, trainDpo } from '../phases/dpo.js';
import type { Command, Context } from './command.js';
import { runOffline } from './offline.js';

export const dpo: Command<typeof dpoFields> = {
  name: 'dpo',
  summary: 'preference optimisation on rankings, without a reward model or sampling',
  about: `Direct preference optimisation: the model is trained on rankings, and what it was before is the reference. Rankings of more than two
responses count by all their pairs, or as a whole with --loss plackettLuce; equal ranks are ties.`,
  fields: dpoFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'pairs: {"prompt": …, "chosen": …, "rejected": …}',
      'heed dpo --model runs/sft/model --data pairs.jsonl --out runs/dpo --beta 0.1',
    ],
    [
      'a model of a million parameters',
      'heed dpo --model runs/sft/model --data rankings.jsonl --out runs/dpo --learning-rate 1e-4 --batch-size 16',
    ],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof dpoFields>, context: Context): Promise<void> {
  return runOffline(values, context, {
    name: 'dpo',
    what: 'rankings',
    read: readRankings,
    plan: ({ train, validation }) => planDpo({ ...values, rankings: train, validation }),
    start: ({ train, validation }, options) => trainDpo({ ...values, rankings: train, validation, ...options }),
  });
}
