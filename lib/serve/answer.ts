/** Samples answers, as text and tokens. */

import { packResponses } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import type { TextPrompt } from '../text/index.js';
import { stopTokensOf, stopWhen, textOf } from '../text/stop.js';
import { TextStream, type Tokenizer } from '../tokenizer/tokenizer.js';

export interface AskedPrompt {
  readonly ids: Int32Array;
  /** As it was sent. */
  readonly prompt: TextPrompt;
  /** White space that the template writes before an answer's own text; it is not part of it. Default none. */
  readonly lead?: string | undefined;
}

/** A request's answers: `n` to each prompt. */
export interface AskedAnswers {
  readonly prompts: readonly AskedPrompt[];
  readonly n: number;
  readonly seed: number;
  /** Tokens per answer, at most. */
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly stop: readonly string[];
}

/** One answer, as far as it is sampled. */
export class Answer {
  readonly prompt: AskedPrompt;
  readonly sample: number;
  readonly tokens: number[] = [];
  readonly logprobs: number[] = [];
  text = '';
  finish: '' | 'stop' | 'length' = '';
  readonly #tokenizer: Tokenizer;
  readonly #stop: readonly string[];
  readonly #decoder: TextStream;
  readonly #held: number; // characters that may be part of a stop string
  #decoded = '';
  #skipped: number | undefined; // characters of the lead; undefined while they are not known

  constructor(prompt: AskedPrompt, sample: number, tokenizer: Tokenizer, stop: readonly string[]) {
    this.prompt = prompt;
    this.sample = sample;
    this.#tokenizer = tokenizer;
    this.#stop = stop;
    this.#decoder = new TextStream(tokenizer, prompt.ids);
    this.#held = Math.max(0, ...stop.map((text) => text.length));
  }

  /** Adds a token. @returns the text that is certain now */
  add(token: number, logprob: number, finish: Answer['finish']): string {
    this.tokens.push(token);
    this.logprobs.push(logprob);
    this.finish = finish;
    this.#decoded += this.#decoder.push(token);
    const before = this.text.length;
    const { lead = '' } = this.prompt;
    if (this.#decoded.length < lead.length && finish === '') return '';
    this.#skipped ??= this.#decoded.startsWith(lead) ? lead.length : 0;
    if (finish !== '') {
      const prompt = this.prompt.ids;
      const whole = textOf({ prompt, tokens: Int32Array.from(this.tokens) }, this.#tokenizer, this.#stop).slice(
        this.#skipped,
      );
      this.text = whole.length >= before ? whole : this.text;
      return this.text.slice(before);
    }
    const end = this.#decoded.length - this.#held;
    if (end - this.#skipped > before) this.text = this.#decoded.slice(this.#skipped, end);
    return this.text.slice(before);
  }
}

/** Text that an answer has gained. */
export interface Gain {
  /** Index of the answer. */
  readonly choice: number;
  readonly text: string;
  readonly token: number;
  readonly logprob: number;
}

/** Samples into `answers`, prompt by prompt, and yields what each token adds. */
export async function* sample(
  model: LanguageModel,
  tokenizer: Tokenizer,
  asked: AskedAnswers,
  answers: readonly Answer[],
  signal: AbortSignal,
): AsyncGenerator<Gain, void, void> {
  const { n, seed, temperature, topK, topP, stop } = asked;
  const { config, specialTokens } = model;
  const roomFor = ({ ids }: AskedPrompt) => Math.min(asked.maxNewTokens, config.maxPositions - ids.length);
  const tokens = model.stream(
    asked.prompts.map((each) => ({ prompt: each.ids, samples: n, seed, maxNewTokens: roomFor(each) })),
    {
      maxNewTokens: asked.maxNewTokens,
      temperature,
      topK,
      topP,
      stopTokens: stopTokensOf({ tokenizer, specialTokens, config }),
      stopWhen: stopWhen(stop, tokenizer),
      slots: n * asked.prompts.length,
      signal,
    },
  );
  for await (const { request, sample: s, token, logprob, finished } of tokens) {
    const choice = request * n + s;
    yield { choice, token, logprob, text: answers[choice]!.add(token, logprob, finished) };
  }
}

export interface Likely {
  readonly token: number;
  readonly logprob: number;
}

/**
 * The likeliest tokens at each of an answer's places, by a pass over the whole. The sampled token has the sampler's own number.
 *
 * @param temperature of the sampling: logits are divided by it
 */
export async function likeliest(
  model: LanguageModel,
  { prompt, tokens, logprobs }: Answer,
  count: number,
  temperature: number,
  signal: AbortSignal,
): Promise<Likely[][]> {
  const kRows = 32; // logits of so many places at a time
  const whole = packResponses([{ prompt: prompt.ids, responses: [Int32Array.from(tokens)] }]);
  const vocab = model.config.vocabSize;
  const scale = temperature === 0 ? 1 : 1 / temperature;
  const found: Likely[][] = [];
  for (let begin = 0; begin < tokens.length; begin += kRows) {
    const rows = whole.rows.slice(begin, begin + kRows);
    const targets = whole.targets.slice(begin, begin + kRows);
    const logits = await model.logits({ ...whole, rows, targets, cuRows: Int32Array.of(0, rows.length) }, { signal });
    for (let r = 0; r < rows.length; r++) {
      const row = logits.subarray(r * vocab, (r + 1) * vocab);
      let max = Number.NEGATIVE_INFINITY;
      for (const z of row) if (z > max) max = z;
      let sum = 0;
      for (const z of row) sum += Math.exp((z - max) * scale);
      const top: number[] = [];
      row.forEach((z, id) => {
        if (top.length === count && z <= row[top.at(-1)!]!) return;
        const at = top.findIndex((other) => row[other]! < z);
        top.splice(at < 0 ? top.length : at, 0, id);
        if (top.length > count) top.pop();
      });
      const i = begin + r;
      found.push(
        top.map((token) => ({
          token,
          logprob: token === tokens[i] ? logprobs[i]! : (row[token]! - max) * scale - Math.log(sum),
        })),
      );
    }
  }
  return found;
}
