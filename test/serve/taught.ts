// A model that answers some prompts by heart.
import { demonstration, type Frame } from '../../lib/data/index.js';
import { trainSft } from '../../lib/phases/sft.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { base, theEngine } from './service.js';

/** Trains the embedded base model until it has learnt these answers, each to a prompt as text. Dispose of it. */
export async function taught(frame: Frame, answers: readonly (readonly [prompt: string, answer: string])[]) {
  const sequences = await Promise.all(
    answers.map(async ([prompt, answer]) => {
      const ids = await frame.promptIds(prompt);
      const { ids: own } = await frame.tokenizer.encodeAfter({ text: prompt, ids }, answer);
      return demonstration(ids, frame.ended(own));
    }),
  );
  const model = await LanguageModel.load(await theEngine(), base);
  const options = { batchSize: sequences.length, learningRate: 3e-3, dropout: 0, schedule: 'constant' } as const;
  for await (const { loss } of trainSft({ model, sequences, steps: 200, ...options })) if (loss < 0.01) break;
  return model;
}
