import { orpoFields, type Values } from '../config/index.js';
import { readRankings } from '../data/index.js';
import { planOrpo, trainOrpo } from '../phases/orpo.js';
import type { Command, Context } from './command.js';
import { runOffline } from './offline.js';

export const orpo: Command<typeof orpoFields> = {
  name: 'orpo',
  summary: 'fine-tuning and preference optimisation in one phase, without a reference',
  about: `Odds ratio preference optimisation: the loss of fine-tuning on the best responses, and an odds ratio against the others.`,
  fields: orpoFields,
  required: ['model', 'data', 'out'],
  examples: [
    ['pairs: {"prompt": …, "chosen": …, "rejected": …}', 'heed orpo --model base --data pairs.jsonl --out runs/orpo'],
  ],
  trains: true,
  run,
};

function run(values: Values<typeof orpoFields>, context: Context): Promise<void> {
  return runOffline(values, context, {
    name: 'orpo',
    what: 'rankings',
    read: readRankings,
    plan: ({ train, validation }) => planOrpo({ ...values, rankings: train, validation }),
    start: ({ train, validation }, options) => trainOrpo({ ...values, rankings: train, validation, ...options }),
  });
}
