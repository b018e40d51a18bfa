// `node scripts/samples.mjs`: writes examples/data: rows of the embedded world in the formats of the commands.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  demonstrate,
  demonstrations,
  makeRanking,
  pretrainDocuments,
  Random,
  trainPrompts,
} from '../dist/lib/world/index.js';
import { root } from './tools.mjs';

const folder = join(root, 'examples/data');
mkdirSync(folder, { recursive: true });
const write = (name, rows) => writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

const random = new Random('samples');
const demos = demonstrations({ seed: 'samples', count: 600 });
write(
  'demos.jsonl',
  demos.map(({ prompt, response }) => ({ prompt, response })),
);
write(
  'rankings.jsonl',
  trainPrompts({ seed: 'samples/rankings', count: 400 }).map((prompt) => {
    // In the main job these are samples of the fine-tuned model.
    const samples = [prompt.truth.answer, demonstrate(prompt, random), demonstrate(prompt, random)];
    const { responses, ranks } = makeRanking(prompt, samples, random);
    return { prompt: prompt.prompt, responses, ranks };
  }),
);
write(
  'prompts.jsonl',
  trainPrompts({ seed: 'samples/prompts', count: 400 }).map(({ prompt }) => ({ prompt })),
);
write(
  'prose.jsonl',
  Array.from(pretrainDocuments({ seed: 'samples', count: 200 }), (text) => ({ text })),
);
