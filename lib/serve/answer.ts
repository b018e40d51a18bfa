/** Samples answers, as text and tokens. */

import { packDocuments, packResponses } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import type { TextPrompt } from '../text/index.js';
import { certainLength, stopTokensOf, stopWhen, textOf } from '../text/stop.js';
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
  readonly #ends: readonly number[];
  readonly #held: number; // characters that may be part of a stop string
  #decoded = '';
  #skipped: number | undefined; // characters of the lead; undefined while they are not known

  constructor(
    prompt: AskedPrompt,
    sample: number,
    tokenizer: Tokenizer,
    stop: readonly string[],
    ends: readonly number[],
  ) {
    this.prompt = prompt;
    this.sample = sample;
    this.#tokenizer = tokenizer;
    this.#stop = stop;
    this.#ends = ends;
    this.#decoder = new TextStream(tokenizer, prompt.ids);
    this.#held = Math.max(0, ...stop.map((text) => text.length));
  }

  /** Whether its last token is one that ended it, and no part of its text. */
  get hasEndToken(): boolean {
    return this.finish === 'stop' && this.#ends.includes(this.tokens.at(-1)!);
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
    const certain = certainLength(this.#decoded, this.#held);
    if (certain - this.#skipped > before) this.text = this.#decoded.slice(this.#skipped, certain);
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
  /** Whether it is the answer's last token. */
  readonly isLast: boolean;
  /** Whether the token is one that ended the answer, and no part of its text. */
  readonly isEnd: boolean;
  /** Whether another one is known already. */
  readonly isFollowed: boolean;
}

/** Samples into `answers`, prompt by prompt, and yields what each token adds. */
export async function* sample(
  model: LanguageModel,
  tokenizer: Tokenizer,
  asked: AskedAnswers,
  answers: readonly Answer[],
  slots: number,
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
      slots: Math.min(n * asked.prompts.length, slots),
      signal,
    },
  );
  for await (const { request, sample: s, token, logprob, finished, isFollowed } of tokens) {
    const choice = request * n + s;
    const answer = answers[choice]!;
    const text = answer.add(token, logprob, finished);
    yield { choice, token, logprob, text, isLast: finished !== '', isEnd: answer.hasEndToken, isFollowed };
  }
}

export interface Likely {
  readonly token: number;
  readonly logprob: number;
}

/** A token of an answer, or of its prompt. */
export interface Place extends Likely {
  readonly likeliest: readonly Likely[];
}

/**
 * The log-probability of each of an answer's tokens under the model, without temperature, and the likeliest tokens there. The sampler's
 * numbers are these at the temperatures 0 and 1; for others, and for the likeliest, they are computed once more.
 *
 * @param o count: of the likeliest; temperature: of the sampling; echo: the prompt's tokens come first, the very first with NaN, and the
 *   token that ended the answer is there too; from: so many of the answer's tokens are left out
 */
export async function placesOf(
  model: LanguageModel,
  answer: Answer,
  o: { readonly count: number; readonly temperature: number; readonly echo: boolean; readonly from?: number },
  signal: AbortSignal,
): Promise<Place[]> {
  const { prompt, tokens, logprobs } = answer;
  const { from = 0 } = o;
  const shown = o.echo || !answer.hasEndToken ? tokens : tokens.slice(0, -1);
  const isOwn = o.temperature === 0 || o.temperature === 1;
  if (!o.echo && (shown.length === from || (o.count === 0 && isOwn)))
    return shown.slice(from).map((token, i) => ({ token, logprob: logprobs[from + i]!, likeliest: [] }));
  const whole = o.echo
    ? packDocuments([[...prompt.ids, ...tokens]])
    : packResponses([{ prompt: prompt.ids, responses: [Int32Array.from(shown)] }]);
  const places: Place[] = o.echo ? [{ token: prompt.ids[0]!, logprob: Number.NaN, likeliest: [] }] : [];
  const sampledAt = o.echo ? prompt.ids.length : -from;
  const ownAt = (i: number) => (isOwn && i >= sampledAt ? logprobs[i - sampledAt] : undefined);
  const some = (begin: number, end?: number) => {
    const rows = whole.rows.slice(begin, end);
    return { ...whole, rows, targets: whole.targets.slice(begin, end), cuRows: Int32Array.of(0, rows.length) };
  };
  if (o.count === 0) {
    const batch = some(from);
    const computed = batch.rows.length === 0 ? [] : (await model.logprobs(batch, { signal })).logprobs;
    batch.targets.forEach((token, r) => {
      places.push({ token, logprob: ownAt(places.length) ?? computed[r]!, likeliest: [] });
    });
    return places;
  }
  const vocab = model.config.vocabSize;
  const most = Math.max(32, Math.floor(2 ** 21 / vocab)); // logits of so many places at a time
  for (let begin = from; begin < whole.rows.length; begin += most) {
    const batch = some(begin, begin + most);
    const logits = await model.logits(batch, { signal });
    batch.targets.forEach((token, r) => {
      places.push(placeOf(logits.subarray(r * vocab, (r + 1) * vocab), token, o.count, ownAt(places.length)));
    });
  }
  return places;
}

/** @param known the token's own log-probability, if it was sampled with it */
function placeOf(row: Float32Array, token: number, count: number, known: number | undefined): Place {
  let max = Number.NEGATIVE_INFINITY;
  for (const z of row) if (z > max) max = z;
  let sum = 0;
  for (const z of row) sum += Math.exp(z - max);
  const top: number[] = [];
  row.forEach((z, id) => {
    if (top.length === count && z <= row[top.at(-1)!]!) return;
    const at = top.findIndex((other) => row[other]! < z);
    top.splice(at < 0 ? top.length : at, 0, id);
    if (top.length > count) top.pop();
  });
  const of = (id: number) => (id === token && known !== undefined ? known : row[id]! - max - Math.log(sum));
  return { token, logprob: of(token), likeliest: top.map((id) => ({ token: id, logprob: of(id) })) };
}
