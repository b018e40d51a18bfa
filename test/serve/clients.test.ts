// The clients that people use, unchanged, get what the library gives.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { expect, test } from '@jest/globals';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, streamText } from 'ai';
import OpenAI, { APIError } from 'openai';
import { ChatTemplate } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { packResponses } from '../../lib/runtime/batch.js';
import { generateText as own } from '../../lib/text/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { plain } from '../api/support.js';
import { base, start, theModel } from './service.js';

const key = 'sk-of-mine';
const messages = [{ role: 'user' as const, content: 'What does a cow say?' }];

async function greedy(maxNewTokens: number): Promise<string> {
  const tokenizer = await Tokenizer.load(base);
  const template = await ChatTemplate.load('plain', tokenizer);
  const prompt = messages;
  const text = await own({ model: await theModel(), tokenizer, template, prompt, temperature: 0, maxNewTokens });
  expect(text[0]).toBe(' '); // of the template's 'Assistant: ', and no part of a message
  return text.slice(1);
}

test('openai: chat, whole and streamed, with logprobs, usage, stop and several choices', async () => {
  const { url, feedback } = await start({ apiKeys: [key] });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const expected = await greedy(12);
  const whole = await client.chat.completions.create({
    model: 'base',
    messages,
    temperature: 0,
    max_tokens: 12,
    logprobs: true,
    top_logprobs: 3,
  });
  const [choice] = whole.choices;
  expect(choice!.message).toMatchObject({ role: 'assistant', content: expected });
  const places = choice!.logprobs!.content!;
  expect(places.map(({ token }) => token).join('')).toBe(` ${expected}`);
  expect(Buffer.concat(places.map(({ bytes }) => Buffer.from(bytes!))).toString()).toBe(` ${expected}`);
  for (const { logprob, top_logprobs } of places) {
    expect(top_logprobs.length).toBe(3);
    expect(top_logprobs[0]!.logprob).toBe(logprob); // the likeliest was taken
    expect(top_logprobs[1]!.logprob).toBeLessThanOrEqual(logprob);
  }
  expect(whole.usage!.total_tokens).toBe(whole.usage!.prompt_tokens + whole.usage!.completion_tokens);

  const stream = await client.chat.completions.create({
    model: 'base',
    messages,
    temperature: 0,
    max_completion_tokens: 12,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let usage: OpenAI.CompletionUsage | null | undefined;
  const ends = [];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    if (chunk.choices[0]?.finish_reason) ends.push(chunk.choices[0].finish_reason);
    usage = chunk.usage ?? usage;
  }
  expect(text).toBe(expected);
  expect(ends).toEqual([choice!.finish_reason]);
  expect(usage).toEqual(whole.usage);

  const cut = expected.trim().split(' ')[1]!;
  const stopped = await client.chat.completions.create({
    model: 'base',
    messages,
    temperature: 0,
    max_tokens: 12,
    stop: cut,
  });
  expect(stopped.choices[0]!.message.content).toBe(expected.slice(0, expected.indexOf(cut)));
  expect(stopped.choices[0]!.finish_reason).toBe('stop');

  // A text to stop at that is several tokens is not shown before it is complete.
  const [second, third] = expected.trim().split(' ').slice(1, 3);
  const held = await client.chat.completions.create({
    model: 'base',
    messages,
    temperature: 0,
    max_tokens: 12,
    stop: `${second} ${third}`,
    stream: true,
  });
  let shown = '';
  for await (const chunk of held) shown += chunk.choices[0]?.delta.content ?? '';
  expect(shown).toBe(expected.slice(0, expected.indexOf(`${second} ${third}`)));

  const several = { model: 'base', messages, n: 3, seed: 7, max_tokens: 8 } as const;
  const first = await client.chat.completions.create(several);
  const again = await client.chat.completions.create(several);
  const texts = first.choices.map(({ message }) => message.content);
  expect(new Set(texts).size).toBe(3);
  expect(again.choices.map(({ message }) => message.content)).toEqual(texts);

  // What is kept trains without sampling again: the log-probabilities are the model's own.
  const database = await openFeedback(feedback, { readOnly: true });
  const rows = database.prepare('SELECT * FROM responses ORDER BY id').all() as {
    name: string;
    prompt_tokens: Uint8Array;
    tokens: Uint8Array;
    logprobs: Uint8Array;
  }[];
  database.close();
  expect(rows.length).toBe(4 + 2 * 3);
  const ints = (blob: Uint8Array) => new Int32Array(blob.slice().buffer);
  const row = rows.find(({ name }) => name === `${first.id}.2`)!;
  expect(row).toMatchObject({ text: texts[2], model: 'base', finish: first.choices[2]!.finish_reason });
  const tree = { prompt: ints(row.prompt_tokens), responses: [ints(row.tokens)] };
  const { logprobs } = await (await theModel()).logprobs(packResponses([tree]));
  expect(plain(new Float32Array(row.logprobs.slice().buffer))).toEqual(plain(logprobs));
});

test('openai: completions of texts and tokens, models, and errors as its own classes', async () => {
  const { url } = await start({ apiKeys: [key] });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const tokenizer = await Tokenizer.load(base);
  const prompts = ['The dog', 'A cow'];
  const options = { model: 'base', temperature: 0, max_tokens: 6 } as const;
  const both = await client.completions.create({ ...options, prompt: prompts, logprobs: 2 });
  const expected = await own({ model: await theModel(), tokenizer, prompts, temperature: 0, maxNewTokens: 6 });
  expect(both.choices.map(({ text }) => text)).toEqual(expected);
  expect(both.choices[1]!.logprobs!.tokens!.join('')).toBe(expected[1]);
  expect(Object.keys(both.choices[1]!.logprobs!.top_logprobs![0]!).length).toBe(2);
  const ids = await Promise.all(prompts.map(async (each) => Array.from(await tokenizer.encode(each))));
  const ofIds = await client.completions.create({ ...options, prompt: ids });
  expect(ofIds.choices.map(({ text }) => text)).toEqual(expected);
  expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['base']);

  const failure = async (promise: Promise<unknown>) => {
    const error = await promise.then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(APIError);
    const { status, param, message } = error as APIError;
    return [status, param, message];
  };
  expect(await failure(client.completions.create({ ...options, model: 'gpt-4', prompt: 'x' }))).toEqual([
    404,
    'model',
    expect.stringContaining('"base"'),
  ]);
  expect(await failure(client.chat.completions.create({ ...options, messages, presence_penalty: 1 }))).toEqual([
    400,
    'presence_penalty',
    expect.stringContaining('not supported'),
  ]);
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-other', maxRetries: 0 });
  expect((await failure(stranger.models.list()))[0]).toBe(401);
});

test("Vercel's AI SDK", async () => {
  const { url } = await start({ apiKeys: [key] });
  const provider = createOpenAICompatible({ name: 'heed', baseURL: `${url}/v1`, apiKey: key });
  const options = { model: provider('base'), messages, temperature: 0, maxOutputTokens: 12, maxRetries: 0 };
  const expected = await greedy(12);
  const { text, usage } = await generateText(options);
  expect(text).toBe(expected);
  expect(usage.outputTokens).toBeGreaterThan(0);
  let streamed = '';
  for await (const part of streamText(options).textStream) streamed += part;
  expect(streamed).toBe(expected);
});

test('LangChain.js', async () => {
  const { url } = await start({ apiKeys: [key] });
  const model = new ChatOpenAI({
    model: 'base',
    apiKey: key,
    temperature: 0,
    maxTokens: 12,
    maxRetries: 0,
    configuration: { baseURL: `${url}/v1` },
  });
  const expected = await greedy(12);
  expect((await model.invoke([['user', messages[0]!.content]])).content).toBe(expected);
  let streamed = '';
  for await (const chunk of await model.stream([['user', messages[0]!.content]])) streamed += chunk.content;
  expect(streamed).toBe(expected);
});
