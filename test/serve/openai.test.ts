// What clients of OpenAI's API send and read, beyond the plain cases of clients.test.ts.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { ChatTemplate } from '../../lib/data/index.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { packDocuments } from '../../lib/runtime/batch.js';
import { Answer } from '../../lib/serve/answer.js';
import { generateText } from '../../lib/text/index.js';
import { certainLength } from '../../lib/text/stop.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, folder, start, theEngine, theModel } from './service.js';

const complete = (url: string, body: object) =>
  ask(`${url}/v1/completions`, { body: { prompt: 'The dog', max_tokens: 4, ...body } });
const events = (text: string) =>
  [...text.matchAll(/^data: (\{.*)$/gm)].map(([, json]) => JSON.parse(json!).choices?.[0]).filter(Boolean);
async function kept(feedback: string): Promise<number> {
  const database = await openFeedback(feedback, { readOnly: true });
  const count = database.prepare('SELECT count(*) FROM responses').pluck().get() as number;
  database.close();
  return count;
}

test('text that is held back for a stop string is never cut within a character', async () => {
  const tokenizer = await Tokenizer.load(base);
  const text = 'a 😀 b 😀😀 ccc';
  const tokens = [...(await tokenizer.encode(text))];
  for (const stop of ['z', 'zz', 'zzz', 'zzzz']) {
    const answer = new Answer({ ids: Int32Array.of(5), prompt: 'x' }, 0, tokenizer, [stop], []);
    const parts = tokens.map((token, i) => answer.add(token, 0, i === tokens.length - 1 ? 'length' : ''));
    expect(parts.filter((part) => Buffer.from(part).toString() !== part)).toEqual([]);
    expect(parts.join('')).toBe(text);
  }
  expect([0, 1, 2, 3, 4].map((held) => certainLength('a😀b', held))).toEqual([4, 3, 1, 1, 0]);
});

test('an empty stop string is refused by the library', async () => {
  const options = { model: await theModel(), tokenizer: await Tokenizer.load(base), prompt: 'The dog', stop: [''] };
  await expect(generateText(options)).rejects.toThrow('a stop string is empty');
});

test('what is wrong is said before a stream begins, by its name, and nothing is kept', async () => {
  const { url, feedback } = await start();
  const dialogue = (content: unknown) => ({ messages: [{ role: 'user', content }] });
  const wrong: [string, object, string, RegExp][] = [
    ['completions', { temperature: 1e-9 }, 'temperature', /at least 0.0001/],
    ['completions', { logprobs: 21 }, 'logprobs', /<=20/],
    ['completions', { echo: true }, 'echo', /in a stream/],
    ['completions', { prompt: [] }, 'prompt', /expected a text, token ids/],
    ['completions', { prompt: new Array(500).fill('x') }, 'prompt', /500 answers .* at most 80/],
    ['completions', { n: 81 }, 'n', /at most 80/],
    ['chat/completions', dialogue(5), 'messages.0.content', /expected a text, or a list/],
    ['chat/completions', dialogue([{ type: 'image_url', image_url: {} }]), 'messages.0.content', /images/],
    ['chat/completions', dialogue(null), 'messages.0.content', /tool_calls/],
  ];
  for (const [route, body, param, message] of wrong) {
    const common = route === 'completions' ? { prompt: 'The dog', max_tokens: 4 } : {};
    const { status, json } = await ask(`${url}/v1/${route}`, { body: { ...common, stream: true, ...body } });
    expect([body, status]).toEqual([body, 400]);
    expect(json().error).toMatchObject({ param, message: expect.stringMatching(message) });
  }
  expect(await kept(feedback)).toBe(0);
  expect((await ask(`${url}/metrics`)).text).not.toContain('heed_answers_total{');
});

test('streams and whole answers have the same log-probabilities at any temperature, without the token that ends them', async () => {
  const { url } = await start();
  const asked = { prompt: 'The dog barks.', max_tokens: 120, seed: 7 };
  const finishes = new Set<string>();
  for (const temperature of [0, 0.7, 1, 1.3])
    for (const logprobs of [0, 2]) {
      const whole = (await complete(url, { ...asked, temperature, logprobs })).json().choices[0];
      finishes.add(whole.finish_reason);
      const { text } = await complete(url, { ...asked, temperature, logprobs, stream: true });
      const streamed = events(text).filter((choice) => choice.logprobs);
      expect(streamed.length).toBeGreaterThan(2);
      for (const part of ['tokens', 'token_logprobs', 'text_offset', 'top_logprobs'])
        expect([temperature, part, streamed.flatMap((choice) => choice.logprobs[part] ?? [])]).toEqual([
          temperature,
          part,
          whole.logprobs[part] ?? [],
        ]);
      expect(whole.logprobs.tokens.join('')).toBe(whole.text);
    }
  expect(finishes).toContain('stop');
  // What is sampled together is computed once more together, and not from the beginning for each token.
  const tokens = async () => (await theEngine()).usage().tokensComputed;
  const before = await tokens();
  const long = { prompt: 'Once', max_tokens: 100, seed: 2, temperature: 1.3, logprobs: 0, stream: true };
  const count = events((await complete(url, long)).text).filter((choice) => choice.logprobs).length;
  expect(count).toBeGreaterThan(40);
  expect((await tokens()) - before).toBeLessThan((count * count) / 4);
  const body = { messages: [{ role: 'user', content: 'Hi' }], n: 3, max_tokens: 20, seed: 3, temperature: 0.7 };
  const chat = { ...body, logprobs: true, top_logprobs: 3 };
  const { choices } = (await ask(`${url}/v1/chat/completions`, { body: chat })).json();
  const parts = events((await ask(`${url}/v1/chat/completions`, { body: { ...chat, stream: true } })).text);
  for (const { index, logprobs } of choices)
    expect(parts.flatMap((part) => (part.index === index ? (part.logprobs?.content ?? []) : []))).toEqual(
      logprobs.content,
    );
  const tokenizer = await Tokenizer.load(base);
  const answer = new Answer({ ids: Int32Array.of(5), prompt: 'x' }, 0, tokenizer, [], [6]);
  answer.add(6, 0, 'stop');
  expect(answer.hasEndToken).toBe(true);
});

test("log-probabilities are the model's own at any temperature; echo measures a prompt", async () => {
  const { url, feedback } = await start();
  const model = await theModel();
  const tokenizer = await Tokenizer.load(base);
  for (const logprobs of [0, 2]) {
    const { text, logprobs: shown } = (await complete(url, { temperature: 2, seed: -1, logprobs })).json().choices[0];
    const prompt = [...(await tokenizer.encode('The dog'))];
    const echoed = (await complete(url, { prompt: `The dog${text}`, max_tokens: 0, echo: true, logprobs })).json();
    const [choice] = echoed.choices;
    expect([choice.text, choice.finish_reason, choice.logprobs.token_logprobs[0]]).toEqual([
      `The dog${text}`,
      'length',
      null,
    ]);
    const ids = await tokenizer.encode(`The dog${text}`);
    const { logprobs: own } = await model.logprobs(packDocuments([ids]));
    choice.logprobs.token_logprobs.slice(1).forEach((each: number, i: number) => {
      expect(each).toBeCloseTo(own[i]!, 4);
    });
    shown.token_logprobs.forEach((each: number, i: number) => {
      expect(each).toBeCloseTo(own[prompt.length - 1 + i]!, 4);
    });
    expect(choice.logprobs.text_offset.at(-1)).toBe(`The dog${text}`.length - choice.logprobs.tokens.at(-1).length);
    const tops = choice.logprobs.top_logprobs;
    expect(tops?.map((each: object | null) => each && Object.keys(each).length)).toEqual(
      logprobs === 0 ? undefined : [null, ...own].map((_, i) => (i === 0 ? null : 2)),
    );
  }
  expect(await kept(feedback)).toBe(2); // what was only measured is no answer
  // as lm-eval asks: the prompt, and one token after it
  const ids = [...(await tokenizer.encode('The dog barks.'))];
  const lm = (await complete(url, { prompt: [ids], max_tokens: 1, temperature: 0, echo: true, logprobs: 1 })).json();
  expect(lm.choices[0].logprobs.tokens.length).toBe(ids.length + 1);
});

test('values that other servers take', async () => {
  const { url } = await start();
  const greedy = (await complete(url, { temperature: 0 })).json().choices[0].text;
  const text = async (body: object) => (await complete(url, body)).json().choices[0].text;
  expect(await text({ top_p: 0, temperature: 1 })).toBe(greedy);
  expect(await text({ top_k: -1, seed: 3 })).toBe(await text({ seed: 3, store: true }));
  expect(await text({ seed: -5 })).toBe(await text({ seed: -5 }));
  const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'user', content: 'And?' },
  ];
  const file = join(folder(), 'calls.jinja');
  writeFileSync(
    file,
    '{% for m in messages %}{{ m.content }}{{ m.tool_calls[0].function.name if m.tool_calls }};{% endfor %}',
  );
  const template = await ChatTemplate.load(file, await Tokenizer.load(base));
  const withCalls = await start({ template });
  const body = { messages, max_tokens: 4, temperature: 0 };
  const answered = (await ask(`${withCalls.url}/v1/chat/completions`, { body })).json().choices[0].message.content;
  expect(answered).toBe((await complete(url, { prompt: 'Hi;f;And?;', temperature: 0 })).json().choices[0].text);
  const refused = await ask(`${url}/v1/chat/completions`, { body }); // the plain template has no place for calls
  expect([refused.status, refused.json().error.message]).toEqual([400, expect.stringContaining('tool')]);
});

test('more prompts than slots: the rest waits', async () => {
  const { url } = await start({ slots: 3, queue: 20 });
  const prompts = Array.from({ length: 20 }, (_, i) => `Number ${i} is`);
  const { choices } = (await complete(url, { prompt: prompts, temperature: 0 })).json();
  const model = await theModel();
  const tokenizer = await Tokenizer.load(base);
  const expected = await generateText({ model, tokenizer, prompts, temperature: 0, maxNewTokens: 4 });
  expect(choices.map(({ text }: { text: string }) => text)).toEqual(expected);
});

test('a failure within a stream is written to standard error', async () => {
  const { url, feedback } = await start();
  const database = await openFeedback(feedback);
  database.exec("CREATE TRIGGER fails BEFORE INSERT ON responses BEGIN SELECT RAISE(ABORT, 'no room here'); END");
  const lines: string[] = [];
  const { write } = process.stderr;
  process.stderr.write = ((line: string) => lines.push(line) > 0) as typeof write;
  try {
    const { text } = await complete(url, { stream: true });
    expect(text).toContain('"type":"server_error"');
    expect(text).not.toContain('[DONE]');
  } finally {
    process.stderr.write = write;
    database.exec('DROP TRIGGER fails');
    database.close();
  }
  expect(lines.join('')).toBe('heed: POST /v1/completions: no room here\n');
});
