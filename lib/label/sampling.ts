/** Samples responses in the background, ahead of those who label. */
import { keyedSeed } from '../core/random.js';
import { type ChatTemplate, Frame } from '../data/index.js';
import type { LanguageModel } from '../runtime/model.js';
import { stopTokensOf, stopWhen, textOf } from '../text/stop.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { NewResponse, Store, WaitingItem } from './store.js';

/** A model whose responses are labelled. */
export interface SampledModel {
  /** Kept with its responses; labelers do not see it. */
  readonly name: string;
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly template?: ChatTemplate | undefined;
}

export interface SamplingOptions {
  /** Distinct responses of a prompt. */
  readonly k: number;
  readonly seed: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly stop: readonly string[];
  /** Prompts whose responses are ready before anybody has seen them. */
  readonly ahead: number;
}

/** Attempts to find distinct responses: a model may be sure of its answer. */
const kRounds = 4;

export class Sampler {
  readonly #store: Store;
  readonly #models: readonly (SampledModel & { readonly frame: Frame })[];
  readonly #o: SamplingOptions;
  #running: Promise<void> | undefined;
  readonly #abort = new AbortController();

  constructor(store: Store, models: readonly SampledModel[], options: SamplingOptions) {
    this.#store = store;
    this.#models = models.map((each) => ({ ...each, frame: new Frame(each.tokenizer, each.template) }));
    this.#o = options;
  }

  /** Samples until enough prompts are ready. Safe to call at any time. @param onFailure gets what ended it early */
  wake(onFailure: (error: unknown) => void): void {
    if (this.#abort.signal.aborted) return;
    this.#running ??= this.#run()
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted) onFailure(error);
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#store.readyAhead() < this.#o.ahead) {
      const item = this.#store.nextWaiting();
      if (!item) return;
      await this.#sample(item);
    }
  }

  async #sample(item: WaitingItem): Promise<void> {
    const seen = new Set(item.responses.map(({ text }) => text.trim()));
    const found: NewResponse[] = [];
    const { k } = this.#o;
    let problem = '';
    for (let round = 0; round < kRounds && seen.size < k; round++) {
      for (const [m, each] of this.#models.entries()) {
        // The models take turns: each gets its share of what is missing, the first ones more.
        const missing = k - seen.size;
        const count = Math.ceil(missing / (this.#models.length - m));
        if (count <= 0) continue;
        try {
          for (const response of await this.#ask(each, item, count, round)) {
            const text = response.text.trim();
            if (seen.size >= k || text === '' || seen.has(text)) continue;
            seen.add(text);
            found.push(response);
          }
          problem = `only ${seen.size} distinct responses were found`;
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          problem = error.message;
        }
      }
    }
    const fewest = Math.min(k, 2);
    if (seen.size < fewest) this.#store.giveUp(item.id, problem);
    else this.#store.fill(item, found);
  }

  async #ask(
    { name, model, tokenizer, frame }: SampledModel & { readonly frame: Frame },
    { prompt: asked }: WaitingItem,
    samples: number,
    round: number,
  ): Promise<NewResponse[]> {
    const { signal } = this.#abort;
    const { maxNewTokens, temperature, topK, topP, stop } = this.#o;
    const text = frame.promptText(asked);
    const prompt = await frame.promptIds(text, { signal });
    const { maxPositions } = model.config;
    if (prompt.length === 0) throw new RangeError('the prompt is empty, expected at least one token');
    if (prompt.length >= maxPositions)
      throw new RangeError(`the prompt has ${prompt.length} tokens, expected fewer than the ${maxPositions} positions`);
    const seed = keyedSeed(this.#o.seed, 'label', round, name, text);
    const completions = await model.generate(
      [{ prompt, samples, seed, maxNewTokens: Math.min(maxNewTokens, maxPositions - prompt.length) }],
      {
        maxNewTokens,
        temperature,
        topK,
        topP,
        stopTokens: stopTokensOf({ tokenizer, specialTokens: model.specialTokens, config: model.config }),
        stopWhen: stopWhen(stop, tokenizer),
        signal,
      },
    );
    return completions.map(({ tokens, logprobs, sample, finished }) => ({
      model: name,
      text: textOf({ prompt, tokens }, tokenizer, stop),
      promptTokens: prompt,
      tokens,
      logprobs,
      sampling: { seed, sample, temperature, topK, topP },
      finish: finished ? 'stop' : 'length',
    }));
  }
}
