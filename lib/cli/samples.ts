/** Sample responses of a run's models, for its report and for those who watch it. */
import { join } from 'node:path';
import type { Items, Prompt, TrainSequence } from '../data/index.js';
import type { Sample } from '../report/types.js';
import { writeFileAtomic } from '../runs/files.js';
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

/** What a run's samples are answers to, and whose. */
export interface Sampled {
  readonly folder: ModelFolder;
  readonly prompts: readonly Prompt[];
  /** Whether the run was trained on these prompts (`train`) or held them out (`instance`): a reader cannot tell. */
  readonly split: 'train' | 'instance';
  /** The model that is trained. */
  readonly model: LanguageModel;
  /** The model as it was. */
  before(): Promise<LanguageModel>;
}

/** Greedy responses, before and after, to the first few prompts that leave room for one: RUN/samples.jsonl. */
export async function writeSamples({ engine, run, signal }: Training, sampled: Sampled): Promise<void> {
  const asked = answerable(sampled, engine.info.maxTokens).slice(0, kSamples);
  const models = [['before', await sampled.before()] as const, ['after', sampled.model] as const];
  const answers: string[][] = [];
  for (const [, model] of models) answers.push(await answersOf(sampled, model, asked, kLongestAnswer, signal));
  const samples: Sample[] = asked.map((prompt, i) => ({
    prompt: sampled.folder.tokenizer.decode(prompt),
    split: sampled.split,
    answers: models.map(([model], m) => ({ model, text: answers[m]![i]! })),
  }));
  await writeFileAtomic(
    join(run.dir, 'samples.jsonl'),
    samples.map((sample) => `${JSON.stringify(sample)}\n`).join(''),
  );
}

/** Answers of the model while it is trained, for those who watch: RUN/answers.jsonl. At most a fiftieth of the time. */
export class LiveSamples {
  readonly #training: Training;
  readonly #sampled: Sampled;
  readonly #asked: readonly Prompt[];
  readonly #every: number;
  #last = performance.now();
  #took = 0;

  /** @param every milliseconds between two samplings, at least */
  constructor(training: Training, sampled: Sampled, every = 20_000) {
    this.#every = every;
    this.#training = training;
    this.#sampled = sampled;
    this.#asked = answerable(sampled, training.engine.info.maxTokens).slice(0, kLiveSamples);
  }

  /** Samples if it is time to. */
  async after(step: number): Promise<void> {
    const began = performance.now();
    if (this.#asked.length === 0 || began - this.#last < Math.max(this.#every, 50 * this.#took)) return;
    const { run, signal } = this.#training;
    const { model, folder, split } = this.#sampled;
    const texts = await answersOf(this.#sampled, model, this.#asked, kLongestLive, signal);
    const answers = texts.map((text, i) => ({ prompt: folder.tokenizer.decode(this.#asked[i]!), text }));
    await run.appendAnswers({ step, split, answers });
    this.#last = performance.now();
    this.#took = this.#last - began;
  }
}

const kLiveSamples = 4;
const kLongestLive = 64;

const answerable = ({ prompts, folder }: Sampled, maxTokens: number) =>
  prompts.filter((prompt) => prompt.length + 1 < Math.min(folder.config.maxPositions, maxTokens));

async function answersOf(
  { folder }: Sampled,
  model: LanguageModel,
  prompts: readonly Prompt[],
  maxNewTokens: number,
  signal: AbortSignal,
): Promise<string[]> {
  const longest = folder.config.maxPositions;
  const completions = await model.generate(
    prompts.map((prompt) => ({ prompt, seed: 0, maxNewTokens: Math.min(maxNewTokens, longest - prompt.length) })),
    { maxNewTokens, temperature: 0, stopTokens: stopTokensOf(folder), signal },
  );
  return completions.map(({ request, tokens }) => folder.tokenizer.decodeAfter(prompts[request]!, tokens));
}
