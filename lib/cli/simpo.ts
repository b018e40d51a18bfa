import { simpoFields, type Values } from '../config/index.js';
import { readRankings } from '../data/index.js';
import { planSimpo, trainSimpo } from '../phases/simpo.js';
import type { Command, Context } from './command.js';
import { runOffline } from './offline.js';

export const simpo: Command<typeof simpoFields> = {
  name: 'simpo',
  summary: 'preference optimisation by log-probabilities per token, without a reference',
  about: `Simple preference optimisation: the better response should be more likely per token than the worse one, by a margin.`,
  fields: simpoFields,
  required: ['model', 'data', 'out'],
  examples: [
    [
      'pairs: {"prompt": …, "chosen": …, "rejected": …}',
      'heed simpo --model runs/sft/model --data pairs.jsonl --out runs/simpo',
    ],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof simpoFields>, context: Context): Promise<void> {
  return runOffline(values, context, {
    name: 'simpo',
    what: 'rankings',
    read: readRankings,
    plan: ({ train, validation }) => planSimpo({ ...values, rankings: train, validation }),
    start: ({ train, validation }, options) => trainSimpo({ ...values, rankings: train, validation, ...options }),
  });
}
