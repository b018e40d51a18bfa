/** Strings and chat messages in, strings and numbers out, with templates and special tokens handled as on the command line. */
import { fillIn, generateFields } from '../config/index.js';
import type { Abortable } from '../core/native.js';
import { keyedSeed } from '../core/random.js';
import type { Message } from '../data/fields.js';
import { ChatTemplate, Frame } from '../data/index.js';
import { packResponses, packScores, type Tree } from '../runtime/batch.js';
import type { GenerateOptions } from '../runtime/generate.js';
import { LanguageModel, type ScalarModel } from '../runtime/model.js';
import { TextStream, type Tokenizer } from '../tokenizer/tokenizer.js';
import { certainLength, stopTokensOf, stopWhen, textOf } from './stop.js';

/** A text, or a dialogue up to the turn that is to be answered. */
export type TextPrompt = string | readonly Message[];

export interface TextOptions<Model> extends Abortable {
  readonly model: Model;
  /** The tokenizer of the model's folder: `Tokenizer.load(dir)`. */
  readonly tokenizer: Tokenizer;
  /**
   * A chat template for the prompt: `'plain'`, `'hh'`, `'tokenizer'` (the tokenizer's own), a Jinja file, or a loaded template.
   * Default: a string is used unchanged, messages are rendered with the tokenizer's own template.
   */
  readonly template?: ChatTemplate | string | undefined;
}

export interface GenerateTextOptions extends TextOptions<LanguageModel> {
  /** Maximum tokens per response; a long prompt leaves room for fewer. Default 256. */
  readonly maxNewTokens?: number | undefined;
  /** Sampling temperature; 0 takes the most likely token. Default 1. */
  readonly temperature?: number | undefined;
  /** Sample from the k most likely tokens. Default 0: disabled. */
  readonly topK?: number | undefined;
  /** Sample from the fewest most likely tokens whose probabilities add up to this. Default 1: disabled. */
  readonly topP?: number | undefined;
  /** Strings that end a response, besides the end-of-text token. They are not part of it. */
  readonly stop?: string | readonly string[] | undefined;
  /** A response depends only on its prompt, the seed and the sampling options. Default 0. */
  readonly seed?: number | undefined;
}

/**
 * Samples a response to one prompt, or to each of several, which are decoded together. The same options give the text that
 * `heed generate` gives; it starts right after the prompt, so it may begin with a space.
 *
 * @throws RangeError for an invalid option, or a prompt that is empty or leaves no room for a response; HeedError
 *   for messages without a template; the signal's reason after an abort
 */
export function generateText(options: GenerateTextOptions & { readonly prompt: TextPrompt }): Promise<string>;
export function generateText(
  options: GenerateTextOptions & { readonly prompts: readonly TextPrompt[] },
): Promise<string[]>;
export async function generateText(
  o: GenerateTextOptions & { readonly prompt?: TextPrompt; readonly prompts?: readonly TextPrompt[] },
): Promise<string | string[]> {
  const { requests, options, stop } = await sampling(o, o.prompts ?? [o.prompt!]);
  const completions = await o.model.generate(requests, options);
  const texts = completions.map(({ tokens }, i) => textOf({ prompt: requests[i]!.prompt, tokens }, o.tokenizer, stop));
  return o.prompts ? texts : texts[0]!;
}

/**
 * Samples a response to one prompt and yields its text as it is decoded; the concatenated parts are the result of {@link generateText}.
 * Decoding waits for the reader, and `break` ends it.
 *
 * @throws as {@link generateText}
 */
export async function* streamText(
  o: GenerateTextOptions & { readonly prompt: TextPrompt },
): AsyncGenerator<string, void, void> {
  const { requests, options, stop } = await sampling(o, [o.prompt]);
  const held = Math.max(0, ...stop.map((text) => text.length)); // characters that may be part of a stop string
  const { prompt } = requests[0]!;
  const decoder = new TextStream(o.tokenizer, prompt);
  const tokens: number[] = [];
  let text = '';
  let shown = 0;
  for await (const { token } of o.model.stream(requests, options)) {
    tokens.push(token);
    text += decoder.push(token);
    const certain = certainLength(text, held);
    if (certain <= shown) continue;
    yield text.slice(shown, certain);
    shown = certain;
  }
  text = textOf({ prompt, tokens: Int32Array.from(tokens) }, o.tokenizer, stop);
  if (text.length > shown) yield text.slice(shown);
}

/**
 * Scores one response to a prompt, or each of several, for which the prompt is computed once. A reward model gives its score, a
 * language model the response's log-probability in nats. A response is the text after the prompt, as {@link generateText} returns it;
 * the end-of-text token is added and scored too.
 *
 * @throws RangeError for a prompt or response that is empty; HeedError for messages without a template, or when prompt and response
 *   are longer than the model's positions; the signal's reason after an abort
 */
export function scoreText(options: ScoreTextOptions & { readonly response: string }): Promise<number>;
export function scoreText(options: ScoreTextOptions & { readonly responses: readonly string[] }): Promise<number[]>;
export async function scoreText(
  o: ScoreTextOptions & { readonly response?: string; readonly responses?: readonly string[] },
): Promise<number | number[]> {
  const { model, tokenizer, signal } = o;
  const frame = new Frame(tokenizer, await templateOf(o));
  const texts = o.responses ?? [o.response!];
  const prompt = frame.promptText(o.prompt);
  requireTokens((await frame.promptIds(prompt, o)).length, 'the prompt');
  const scores = await scoreTree(model, await frame.comparedIds({ prompt, texts }, o), signal);
  return o.responses ? scores : scores[0]!;
}

/** The score of each response of a tree, as {@link scoreText}. */
export async function scoreTree(
  model: LanguageModel | ScalarModel,
  tree: Tree,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  if (model instanceof LanguageModel) {
    const batch = packResponses([tree]);
    const { logprobs } = await model.logprobs(batch, { signal });
    return tree.responses.map((_, k) =>
      logprobs.subarray(batch.cuRows[k], batch.cuRows[k + 1]).reduce((sum, x) => sum + x, 0),
    );
  }
  return Array.from(await model.scores(packScores([tree]), { signal }));
}

export interface ScoreTextOptions extends TextOptions<LanguageModel | ScalarModel> {
  readonly prompt: TextPrompt;
}

/** The model's requests and sampling options. */
async function sampling(o: GenerateTextOptions, prompts: readonly TextPrompt[]) {
  const { maxNewTokens: length, temperature, topK, topP, seed } = generateFields;
  const { seed: from, maxNewTokens, ...given } = fillIn({ maxNewTokens: length, temperature, topK, topP, seed }, o);
  const { model, tokenizer, signal } = o;
  const { maxPositions } = model.config;
  const frame = new Frame(tokenizer, await templateOf(o));
  const seen = new Map<string, number>();
  const texts = prompts.map((each) => frame.promptText(each));
  const nameOf = (i: number) => (prompts.length === 1 ? 'the prompt' : `prompt ${i}`);
  const encoded = await Promise.all(texts.map((text, i) => encodePrompt(frame, text, nameOf(i), o)));
  const requests = texts.map((text, i) => {
    const prompt = encoded[i]!;
    if (prompt.length >= maxPositions) {
      throw new RangeError(
        `${nameOf(i)} has ${prompt.length} tokens, expected fewer than the model's ${maxPositions} positions`,
      );
    }
    const occurrence = seen.get(text) ?? 0; // equal prompts get different responses
    seen.set(text, occurrence + 1);
    const room = Math.min(maxNewTokens, maxPositions - prompt.length);
    return { prompt, seed: keyedSeed(from, 'generate', occurrence, text), maxNewTokens: room };
  });
  const stop = [o.stop ?? []].flat();
  if (stop.includes('')) throw new RangeError('a stop string is empty, expected at least one character');
  const options: GenerateOptions = {
    ...given,
    maxNewTokens,
    stopTokens: stopTokensOf({ tokenizer, specialTokens: model.specialTokens, config: model.config }),
    stopWhen: stopWhen(stop, tokenizer),
    signal,
  };
  return { requests, options, stop };
}

async function encodePrompt(frame: Frame, text: string, name: string, options: Abortable): Promise<Int32Array> {
  const ids = await frame.promptIds(text, options);
  requireTokens(ids.length, name);
  return ids;
}

function requireTokens(count: number, name: string): void {
  if (count === 0) throw new RangeError(`${name} is empty, expected at least one token`);
}

async function templateOf({ template, tokenizer }: TextOptions<unknown>): Promise<ChatTemplate | undefined> {
  return typeof template === 'string' ? ChatTemplate.load(template, tokenizer) : template;
}
