/** Sample responses of a run's models, for its report: RUN/samples.jsonl. */
import { join } from 'node:path';
import type { Items, Prompt, TrainSequence } from '../data/index.js';
import type { Sample } from '../report/types.js';
import { writeFileAtomic } from '../runs/runfolder.js';
import type { LanguageModel } from '../runtime/model.js';
import { stopTokensOf } from '../text/stop.js';
import type { ModelFolder } from './models.js';
import type { Training } from './training.js';

const kSamples = 6;
const kLongestAnswer = 96;
const kPrompts = 1 << 16;

/** The distinct prompts of sequences: tokens before the first with loss. At most {@link kPrompts}. */
export function promptsOf(sequences: Items<TrainSequence>): Prompt[] {
  const prompts = new Map<string, Prompt>();
  for (const { tokens, spans } of sequences) {
    const prompt = tokens.slice(0, spans[0]);
    prompts.set(prompt.join(), prompt);
    if (prompts.size === kPrompts) break;
  }
  return [...prompts.values()];
}

/**
 * Greedy responses of each model to the first few prompts that leave room for one.
 *
 * @param split whether the run was trained on these prompts (`train`) or held them out (`instance`): a reader cannot tell
 */
export async function writeSamples(
  { engine, run, signal }: Training,
  folder: ModelFolder,
  prompts: readonly Prompt[],
  split: 'train' | 'instance',
  models: readonly (readonly [string, LanguageModel])[],
): Promise<void> {
  const longest = Math.min(folder.config.maxPositions, engine.info.maxTokens);
  const asked = prompts.filter((prompt) => prompt.length + 1 < longest).slice(0, kSamples);
  const samples: Sample[] = asked.map((prompt) => ({ prompt: folder.tokenizer.decode(prompt), split, answers: [] }));
  for (const [name, model] of models) {
    const completions = await model.generate(
      asked.map((prompt) => ({ prompt, seed: 0, maxNewTokens: Math.min(kLongestAnswer, longest - prompt.length) })),
      { maxNewTokens: kLongestAnswer, temperature: 0, stopTokens: stopTokensOf(folder), signal },
    );
    for (const { request, tokens } of completions) {
      const sample = samples[request]!;
      samples[request] = {
        ...sample,
        answers: [...sample.answers, { model: name, text: folder.tokenizer.decodeAfter(asked[request]!, tokens) }],
      };
    }
  }
  await writeFileAtomic(
    join(run.dir, 'samples.jsonl'),
    samples.map((sample) => `${JSON.stringify(sample)}\n`).join(''),
  );
}
