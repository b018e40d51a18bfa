// POST /v1/responses as OpenAI's client and the default provider of Vercel's AI SDK send it.
import { request as httpRequest } from 'node:http';
import { createOpenAI } from '@ai-sdk/openai';
import { expect, test } from '@jest/globals';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, type ModelMessage, streamText } from 'ai';
import OpenAI from 'openai';
import { openFeedback } from '../../lib/feedback/database.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, start } from './service.js';

const key = 'sk-of-mine';
const question = 'What does a cow say?';
const asked = { model: 'base', temperature: 0, max_output_tokens: 12 } as const;

async function served(more = {}) {
  const started = await start({ apiKeys: [key], ...more });
  const client = new OpenAI({ baseURL: `${started.url}/v1`, apiKey: key, maxRetries: 0 });
  const chat = async (messages: object[], max_tokens = 12) =>
    (await client.chat.completions.create({ model: 'base', temperature: 0, max_tokens, messages: messages as never }))
      .choices[0]!;
  return { ...started, client, chat };
}
const user = (content: string) => ({ role: 'user' as const, content });

async function rows(feedback: string) {
  const database = await openFeedback(feedback, { readOnly: true });
  const found = database.prepare('SELECT * FROM responses ORDER BY id').all() as {
    name: string;
    text: string;
    prompt_tokens: Uint8Array;
    tokens: Uint8Array;
  }[];
  database.close();
  return found.map((row) => ({
    ...row,
    prompt: [...new Int32Array(row.prompt_tokens.slice().buffer)],
    answer: [...new Int32Array(row.tokens.slice().buffer)],
  }));
}

test('openai: a response is the answer of a chat, whole and streamed', async () => {
  const { client, chat } = await served();
  const { message, finish_reason } = await chat([user(question)]);
  const whole = await client.responses.create({ ...asked, input: question, metadata: { of: 'a test' } });
  expect(whole.output_text).toBe(message.content);
  expect(whole).toMatchObject({
    object: 'response',
    model: 'base',
    status: finish_reason === 'length' ? 'incomplete' : 'completed',
    temperature: 0,
    max_output_tokens: 12,
    metadata: { of: 'a test' },
    instructions: null,
  });
  expect(whole.usage!.total_tokens).toBe(whole.usage!.input_tokens + whole.usage!.output_tokens);
  const cut = await client.responses.create({ ...asked, max_output_tokens: 2, input: question });
  expect([cut.status, cut.incomplete_details, cut.usage!.output_tokens]).toEqual([
    'incomplete',
    { reason: 'max_output_tokens' },
    2,
  ]);
  expect(cut.output[0]).toMatchObject({ type: 'message', status: 'incomplete' });

  const events = [];
  for await (const event of await client.responses.create({ ...asked, input: question, stream: true }))
    events.push(event);
  const types = events.map(({ type }) => type);
  expect(types.filter((type, i) => type !== types[i - 1])).toEqual([
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    whole.status === 'completed' ? 'response.completed' : 'response.incomplete',
  ]);
  expect(types.filter((type) => type === 'response.output_text.delta').length).toBeGreaterThan(2);
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
  const deltas = events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : ''));
  expect(deltas.join('')).toBe(whole.output_text);
  const last = events.at(-1)! as OpenAI.Responses.ResponseCompletedEvent;
  expect(last.response).toMatchObject({ usage: whole.usage, output: [{ content: [{ text: whole.output_text }] }] });
  expect(last.response.output[0]!.id).not.toBe(whole.output[0]!.id);

  // The client's own accumulation, which checks the order and the identity of items.
  const long = { ...asked, max_output_tokens: 200, input: 'The dog barks.' };
  const final = await client.responses.stream(long).finalResponse();
  expect(final.status).toBe('completed');
  expect(final.output_text).toBe((await client.responses.create(long)).output_text);
});

test('instructions and items are the messages of a chat', async () => {
  const { client, chat } = await served();
  const turns = [user('Hi'), { role: 'assistant' as const, content: 'Hello.' }, user(question)];
  const expected = (await chat([{ role: 'system', content: 'Be brief.' }, ...turns])).message.content;
  expect(expected).not.toBe((await chat(turns)).message.content);
  const parts = [
    { role: 'user' as const, content: [{ type: 'input_text' as const, text: 'Hi' }] },
    {
      type: 'message' as const,
      id: 'msg_x',
      status: 'completed' as const,
      role: 'assistant' as const,
      content: [{ type: 'output_text' as const, text: 'Hello.', annotations: [] }],
    },
    { type: 'message' as const, role: 'user' as const, content: question },
  ];
  const text = async (body: object) =>
    ((await client.responses.create({ ...asked, ...body } as never)) as OpenAI.Responses.Response).output_text;
  expect(await text({ instructions: 'Be brief.', input: parts })).toBe(expected);
  expect(await text({ input: [{ role: 'developer', content: 'Be brief.' }, ...parts] })).toBe(expected);
  expect(await text({ temperature: 1, seed: 3, input: 'Hi' })).toBe(
    await text({ temperature: 1, seed: 3, input: 'Hi' }),
  );
  expect(await text({ temperature: 1, seed: 3, input: 'Hi' })).not.toBe(await text({ input: 'Hi' }));
});

test('a response is continued by its id, without its instructions; its text is what was sampled', async () => {
  const { client, chat, feedback, close } = await served();
  const first = await client.responses.create({ ...asked, input: 'Hi', instructions: 'Be brief.' });
  const next = { ...asked, input: question, previous_response_id: first.id };
  const second = await client.responses.create(next);
  const before = [user('Hi'), { role: 'assistant', content: first.output_text }];
  expect(second.output_text).toBe((await chat([...before, user(question)])).message.content);
  expect(second.previous_response_id).toBe(first.id);
  const instructed = await client.responses.create({ ...next, instructions: 'Be loud.' });
  const loud = [{ role: 'system', content: 'Be loud.' }, ...before, user(question)];
  expect(instructed.output_text).toBe((await chat(loud)).message.content);
  // as the AI SDK refers to what it got
  const referred = await client.responses.create({
    ...asked,
    input: [user('Hi'), { type: 'item_reference', id: first.output[0]!.id! }, user(question)],
  });
  expect(referred.output_text).toBe(second.output_text);
  const third = await client.responses.create({ ...asked, input: 'And?', previous_response_id: second.id });
  expect(third.status).not.toBe('failed');
  await close();
  const kept = await rows(feedback);
  const [two, three] = [second, third].map(({ id }) => kept.find(({ name }) => name === id)!);
  const sampled = [...two!.prompt, ...two!.answer];
  expect(three!.prompt.slice(0, sampled.length)).toEqual(sampled);
  const tokenizer = await Tokenizer.load(base);
  const promptOf = (id: string) => tokenizer.decode(Int32Array.from(kept.find(({ name }) => name === id)!.prompt));
  expect(promptOf(first.id)).toContain('Be brief.');
  expect(promptOf(second.id)).not.toContain('Be brief.');
  expect(promptOf(instructed.id).match(/Be \w+/g)).toEqual(['Be loud']);
});

test('feedback on a response; store: false keeps none of it, and store: true needs a file', async () => {
  const { client, url, feedback } = await served();
  const { id } = await client.responses.create({ ...asked, input: 'Hi' });
  const hidden = await client.responses.create({ ...asked, input: 'Hi', store: false });
  expect(hidden).toMatchObject({ store: false });
  expect(await client.responses.create({ ...asked, input: 'Hi', store: true })).toMatchObject({ store: true });
  const say = async (about: string) =>
    (await ask(`${url}/feedback`, { body: { id: about, thumb: true }, headers: { authorization: `Bearer ${key}` } }))
      .status;
  expect([await say(id), await say(hidden.id)]).toEqual([200, 404]);
  expect((await rows(feedback)).map(({ name }) => name)).not.toContain(hidden.id);
});

test('log-probabilities are those of a chat, streamed too', async () => {
  const { client } = await served();
  const { choices } = await client.chat.completions.create({
    ...{ model: 'base', temperature: 0, max_tokens: 12, messages: [user(question)] },
    logprobs: true,
    top_logprobs: 2,
  });
  const include = ['message.output_text.logprobs' as const];
  const whole = await client.responses.create({ ...asked, input: question, include, top_logprobs: 2 });
  const [message] = whole.output as OpenAI.Responses.ResponseOutputMessage[];
  const [part] = message!.content as OpenAI.Responses.ResponseOutputText[];
  expect(part!.logprobs).toEqual(choices[0]!.logprobs!.content);
  const streamed = [];
  const same = { ...asked, input: question, include, top_logprobs: 2, stream: true } as const;
  for await (const event of await client.responses.create(same))
    if (event.type === 'response.output_text.delta') streamed.push(...event.logprobs);
  expect(streamed).toEqual(part!.logprobs);
});

test('what is not supported is refused by its name, before a stream begins', async () => {
  const { url, feedback } = await served();
  const image = { type: 'input_image', image_url: 'data:,' };
  const refused: [object, string, RegExp][] = [
    [{ input: [{ role: 'user', content: [image] }] }, 'input.0.content', /images/],
    [{ input: [{ role: 'user', content: 5 }] }, 'input.0.content', /expected a text/],
    [
      { input: [user('Hi'), { type: 'reasoning', id: 'x', summary: [] }] },
      'input.1.type',
      /not supported, expected message/,
    ],
    [{ input: [{ type: 'function_call', name: 'f' }] }, 'input.0.call_id', /expected string/],
    [{ input: [] }, 'input', /at least|>=1/],
    [{ input: 5 }, 'input', /nvalid/],
    [{ tools: [{ type: 'web_search' }] }, 'tools.0.type', /"function"/],
    [{ tools: [{ type: 'function', name: 'f' }] }, 'tools', /no place/],
    [{ tools: [{ type: 'function', name: 'f', strict: true }] }, 'tools.0.strict', /expected false/],
    [{ tool_choice: 'required' }, 'tool_choice', /auto/],
    [{ text: { format: { type: 'json_object' } } }, 'text', /not supported/],
    [{ truncation: 'auto' }, 'truncation', /not supported/],
    [{ background: true }, 'background', /not supported/],
    [{ conversation: 'conv_1' }, 'conversation', /not supported/],
    [{ previous_response_id: 'resp_none' }, 'previous_response_id', /no response/],
    [{ input: [{ type: 'item_reference', id: 'msg_none' }] }, 'input.0.id', /no response/],
    [{ input: [{ type: 'item_reference', id: 'x y' }] }, 'input.0.id', /no item/],
    [{ include: ['file_search_call.results'] }, 'include.0', /expected one of/],
    [{ top_logprobs: 2 }, 'top_logprobs', /include/],
    [{ input: 'the dog '.repeat(1e4) }, 'input', /positions/],
    [{ max_tokens: 5 }, 'max_tokens', /not supported/],
  ];
  for (const [body, param, message] of refused) {
    const { status, json } = await ask(`${url}/v1/responses`, {
      body: { input: 'Hi', stream: true, max_output_tokens: 2, ...body },
      headers: { authorization: `Bearer ${key}` },
    });
    expect([body, status, json().error]).toEqual([
      body,
      400,
      expect.objectContaining({ param, message: expect.stringMatching(message) }),
    ]);
  }
  expect(await rows(feedback)).toEqual([]);
  // what changes nothing is taken
  const neutral = {
    ...{ text: { format: { type: 'text' }, verbosity: 'medium' }, truncation: 'disabled', background: false },
    ...{ include: ['reasoning.encrypted_content'], reasoning: { effort: null }, tools: [], tool_choice: 'auto' },
    ...{ parallel_tool_calls: true, service_tier: 'auto', prompt_cache_key: 'x', safety_identifier: 'x', user: 'x' },
    ...{ stream_options: { include_obfuscation: false }, previous_response_id: null, conversation: null },
  };
  const taken = await ask(`${url}/v1/responses`, {
    body: { input: 'Hi', max_output_tokens: 2, ...neutral },
    headers: { authorization: `Bearer ${key}` },
  });
  expect([taken.status, taken.text]).toEqual([200, expect.stringContaining('output_text')]);
});

test('the same guards as of the other routes: keys, limits, the end of the server', async () => {
  const { url } = await served({ perMinute: 1 });
  const post = (body: object, headers = {}) => ask(`${url}/v1/responses`, { body, headers });
  const own = { authorization: `Bearer ${key}` };
  expect((await post({ input: 'Hi' })).status).toBe(401);
  expect((await post({ input: 'Hi', model: 'gpt-4' }, own)).json().error.code).toBe('model_not_found');
  expect((await post({ input: 'Hi', max_output_tokens: 2 }, own)).status).toBe(200);
  expect((await post({ input: 'Hi', max_output_tokens: 2 }, own)).status).toBe(429);
  const stopping = await served();
  for (let last = { type: '' }; last.type !== 'response.failed'; ) {
    const sent = httpRequest(`${stopping.url}/v1/responses`, {
      method: 'POST',
      headers: { ...own, 'content-type': 'application/json' },
    });
    sent.end(JSON.stringify({ input: 'Once upon a time', max_output_tokens: 250, seed: 1, stream: true }));
    const answer = await new Promise<NodeJS.ReadableStream>((resolve) => sent.on('response', resolve));
    let text = '';
    for await (const part of answer) {
      stopping.service.abort(); // which may be too late: then once more
      text += part;
    }
    last = JSON.parse(text.trim().split('\n').at(-1)!.slice('data: '.length));
    const error = { code: 'unavailable', message: 'the server stops' };
    if (last.type === 'response.failed') expect(last).toMatchObject({ response: { status: 'failed', error } });
    else expect(last.type).toMatch(/^response\.(completed|incomplete)$/);
  }
});

test("Vercel's AI SDK with its default provider", async () => {
  const { url, chat } = await served();
  const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
  const options = { model: openai('base'), temperature: 0, maxOutputTokens: 12, maxRetries: 0 };
  const messages: ModelMessage[] = [user(question)];
  const expected = (await chat(messages)).message.content!;
  const { text, usage, response, warnings } = await generateText({ ...options, messages });
  expect([text, warnings ?? []]).toEqual([expected, []]);
  expect(usage.outputTokens).toBeGreaterThan(0);
  let streamed = '';
  for await (const part of streamText({ ...options, messages }).textStream) streamed += part;
  expect(streamed).toBe(expected);
  // The next turn refers to the answer by the id of its item.
  const next = [...messages, ...response.messages, user('And the dog?')];
  const { text: second } = await generateText({ ...options, messages: next, instructions: 'Be brief.' } as never);
  const turns = [
    { role: 'system', content: 'Be brief.' },
    ...messages,
    { role: 'assistant', content: text },
    user('And the dog?'),
  ];
  expect(second).toBe((await chat(turns)).message.content);
});

test('LangChain.js by the same route', async () => {
  const { url, chat } = await served();
  const configuration = { baseURL: `${url}/v1` };
  const options = { model: 'base', apiKey: key, temperature: 0, maxTokens: 12, maxRetries: 0, configuration };
  const model = new ChatOpenAI({ ...options, useResponsesApi: true });
  const expected = (await chat([user(question)])).message.content!;
  expect((await model.invoke([['user', question]])).text).toBe(expected);
  let streamed = '';
  for await (const chunk of await model.stream([['user', question]])) streamed += chunk.text;
  expect(streamed).toBe(expected);
});
