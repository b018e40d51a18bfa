// Several adapters of one base, served in one batch: requests choose by `model`.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { serving } from '../../lib/serve/index.js';
import { scoreText } from '../../lib/text/index.js';
import { stopTokensOf } from '../../lib/text/stop.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, folder, start, taughtAdapter, theEngine, theModel } from './service.js';

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

let dir: string;
let adapters: { polite: LanguageModel; brief: LanguageModel };
beforeAll(async () => {
  adapters = { polite: await taughtAdapter(1, 4), brief: await taughtAdapter(2, 8) };
  dir = folder();
  for (const [name, adapter] of Object.entries(adapters)) await adapter.save(join(dir, name), { tokenizerFrom: base });
});

const prompts = ['The dog', 'Once upon a time', 'What is a cat?', 'She said'];
const body = { max_tokens: 12, temperature: 1, seed: 5 };
const complete = async (url: string, model: string | undefined, prompt: string) => {
  const { status, json } = await ask(`${url}/v1/completions`, { body: { ...body, prompt, model, logprobs: 0 } });
  const answer = json();
  expect([status, answer.model]).toEqual([200, model ?? 'base']);
  return answer.choices[0] as { text: string; logprobs: { token_logprobs: number[] } };
};

/** All prompts under all models at once. */
const mixed = (url: string) =>
  Promise.all(
    prompts.flatMap((prompt) =>
      [undefined, 'base', 'polite', 'brief'].map(async (model) => {
        const { text, logprobs } = await complete(url, model, prompt);
        return { prompt, model: model ?? 'base', text, logprobs: logprobs.token_logprobs };
      }),
    ),
  );

test('requests of several models at once: each is answered as by its model alone', async () => {
  const { url, feedback } = await start({ adapters });
  const tokenizer = await Tokenizer.load(base);
  const found = await mixed(url);
  const texts = new Set<string>();
  for (const { prompt, model, text, logprobs } of found) {
    const own = model === 'base' ? await theModel() : adapters[model as keyof typeof adapters];
    const ids = await tokenizer.encode(prompt);
    const stopTokens = [...stopTokensOf({ tokenizer, specialTokens: own.specialTokens, config: own.config })];
    const [expected] = await own.generate([{ prompt: ids, seed: 5 }], { maxNewTokens: 12, stopTokens });
    expect({ prompt, model, logprobs }).toEqual({
      prompt,
      model,
      logprobs: [...expected!.logprobs].slice(0, logprobs.length),
    });
    expect(logprobs.length).toBe(expected!.tokens.length - (expected!.finished ? 1 : 0));
    texts.add(`${prompt}: ${text}`);
  }
  expect(texts.size).toBeGreaterThan(2 * prompts.length);
  // one after the other, with what is in the cache by then
  for (const each of found) expect((await complete(url, each.model, each.prompt)).text).toBe(each.text);
  const database = await openFeedback(feedback, { readOnly: true });
  const counts = database.prepare('SELECT model, count(*) AS n FROM responses GROUP BY model ORDER BY model').all();
  database.close();
  expect(counts).toEqual([
    { model: 'base', n: 4 * prompts.length },
    { model: 'brief', n: 2 * prompts.length },
    { model: 'polite', n: 2 * prompts.length },
  ]);
});

test('they are listed, stream, chat and score; another name is 404', async () => {
  const { url } = await start({ adapters });
  const { data } = (await ask(`${url}/v1/models`)).json() as { data: { id: string; object: string }[] };
  expect(data.map(({ id, object }) => [id, object])).toEqual(
    ['base', 'polite', 'brief'].map((name) => [name, 'model']),
  );
  expect((await ask(`${url}/v1/models/polite`)).json().id).toBe('polite');
  const tokenizer = await Tokenizer.load(base);
  const asked = { prompt: 'The dog', responses: [' says woof', ' runs'] };
  for (const [model, own] of [...Object.entries(adapters), ['base', await theModel()] as const]) {
    const { scores, model: scorer } = (await ask(`${url}/score`, { body: { ...asked, model } })).json();
    expect(scorer).toBe(model);
    expect(scores).toEqual([...(await scoreText({ model: own, tokenizer, ...asked }))]);
    const messages = [{ role: 'user', content: 'Hello' }];
    const chat = { ...body, model, messages };
    const { choices } = (await ask(`${url}/v1/chat/completions`, { body: chat })).json();
    const { text } = await ask(`${url}/v1/chat/completions`, { body: { ...chat, stream: true } });
    const events = text.split('\n\n').filter((line) => line.startsWith('data: {'));
    const chunks = events.map((line) => JSON.parse(line.slice(6)));
    expect(new Set(chunks.map((chunk) => chunk.model))).toEqual(new Set([model]));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('')).toBe(choices[0].message.content);
  }
  const bodies = {
    '/v1/completions': { prompt: 'The dog' },
    '/v1/chat/completions': { messages: [{ role: 'user', content: 'Hello' }] },
    '/v1/responses': { input: 'Hello' },
    '/score': asked,
  };
  for (const [path, rest] of Object.entries(bodies)) {
    const wrong = await ask(`${url}${path}`, { body: { ...rest, model: 'rude' } });
    expect(wrong.status).toBe(404);
    expect(wrong.json().error).toEqual({
      message: 'the model "rude" is not served, expected "base" or "polite" or "brief"',
      type: 'invalid_request_error',
      param: 'model',
      code: 'model_not_found',
    });
  }
  expect((await ask(`${url}/v1/models/polite2`)).status).toBe(404);
});

test('a response goes on from one of another model; tokens and answers are counted by model; keys have one limit for all', async () => {
  const { url } = await start({ adapters, apiKeys: ['key'], atOnce: 2 });
  const headers = { authorization: 'Bearer key' };
  const respond = async (more: object) =>
    (await ask(`${url}/v1/responses`, { body: { max_output_tokens: 8, temperature: 0, ...more }, headers })).json();
  const first = await respond({ input: 'What does a dog say?', model: 'polite' });
  const said = first.output[0].content[0].text;
  const next = { input: 'And a cat?', previous_response_id: first.id };
  const whole = [
    { role: 'user', content: 'What does a dog say?' },
    { role: 'assistant', content: said },
    { role: 'user', content: 'And a cat?' },
  ];
  const texts = new Set<string>();
  for (const model of ['base', 'brief', 'polite']) {
    const [continued, sent] = [await respond({ ...next, model }), await respond({ input: whole, model })];
    expect([continued.model, continued.previous_response_id]).toEqual([model, first.id]);
    expect(continued.output[0].content[0].text).toBe(sent.output[0].content[0].text);
    texts.add(sent.output[0].content[0].text);
  }
  expect(texts.size).toBe(3);
  const { text } = await ask(`${url}/metrics`, { headers });
  const count = (name: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
  const of = (model: string) => count(`heed_tokens_total{kind="completion",model="${model}"}`);
  expect([of('base'), of('brief'), of('polite')]).toEqual([16, 16, 24]);
  expect(text).toContain('heed_answers_total{finish="length",model="polite"} 3');

  const statuses = await Promise.all(
    ['base', 'polite', 'brief'].map(
      async (model) =>
        (
          await ask(`${url}/v1/completions`, {
            body: { ...body, prompt: 'A', max_tokens: 200, stop: [], model },
            headers,
          })
        ).status,
    ),
  );
  expect(statuses.sort()).toEqual([200, 200, 429]);
});

test('clients of several models leave at any moment: no slot is lost, and the others get what they get alone', async () => {
  const { url } = await start({ adapters, slots: 4 });
  const alone = await mixed(url);
  const models = ['base', 'polite', 'brief'];
  const leaving = Array.from({ length: 45 }, async (_, i) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 7 * i + 5);
    const sent = {
      ...body,
      prompt: `Once ${i}`,
      max_tokens: 200,
      n: 1 + (i % 3),
      model: models[i % 3],
      stream: i % 2 === 0,
    };
    await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(sent),
      signal: controller.signal,
    })
      .then((answer) => answer.text())
      .catch(() => undefined);
  });
  expect(await mixed(url)).toEqual(alone);
  await Promise.all(leaving);
  for (;;) {
    const { text } = await ask(`${url}/metrics`);
    if (/^heed_slots_busy 0$/m.test(text) && /^heed_queue_waiting 0$/m.test(text)) break;
    await new Promise((done) => setTimeout(done, 20));
  }
  expect(await mixed(url)).toEqual(alone);
});

test('what cannot be served is refused before anything is opened', async () => {
  const tokenizer = await Tokenizer.load(base);
  const options = { name: 'base', model: await theModel(), tokenizer };
  const { polite } = adapters;
  for (const name of ['', 'base', 'base@2'])
    expect(() => serving({ ...options, adapters: { [name]: polite } })).toThrow(
      `the adapter ${JSON.stringify(name)} has the name of the model or of its versions, or none, expected another`,
    );
  const other = await LanguageModel.load(await theEngine(), base);
  expect(() => serving({ ...options, adapters: { other } })).toThrow(
    'the adapter "other" has another base than the model, expected the same',
  );
  const training = { when: 'continuous' as const };
  expect(() => serving({ ...options, adapters, feedback: join(dir, 'none.db'), training })).toThrow(
    'training learns from the answers of one model, expected no adapters beside it',
  );
  // An adapter as the model, with another beside it and its base too.
  const { url } = await start({ model: polite, adapters: { brief: adapters.brief, plain: options.model } });
  expect((await ask(`${url}/v1/models`)).json().data.map(({ id }: { id: string }) => id)).toEqual([
    'base',
    'brief',
    'plain',
  ]);
  await other.dispose();
});

const command = (args: readonly string[]) => {
  const child = spawn(process.execPath, [
    'dist/lib/cli/main.js',
    'serve',
    '--model',
    base,
    '--port',
    '0',
    '--no-log',
    ...args,
  ]);
  children.push(child);
  const lines: string[] = [];
  const url = new Promise<string>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      lines.push(line);
      const found = line.match(/^(http:\S+) serves/);
      if (found) resolve(found[1]!);
    });
    child.on('close', () => reject(new Error(lines.join('\n'))));
  });
  return { child, url };
};

test('heed serve --adapter NAME=DIR', async () => {
  const [polite, brief] = [`polite=${join(dir, 'polite')}`, `brief=${join(dir, 'brief')}`];
  const { child, url } = command(['--adapter', polite, '--adapter', brief]);
  const { url: here } = await start({ adapters });
  expect(await mixed(await url)).toEqual(await mixed(here));
  child.kill('SIGKILL');
  const refused = (...args: string[]) => expect(command(args).url).rejects;
  await refused('--adapter', polite, '--adapter', polite).toThrow('--adapter polite=… is given twice');
  await refused('--adapter', `base=${join(dir, 'polite')}`).toThrow('has the name of the model');
  await refused('--adapter', join(dir, 'polite'), '--adapter', dir).toThrow(
    'give those that are served beside the model',
  );
  await refused('--adapter', polite, '--train', 'nightly', '--feedback', join(dir, 'no.db')).toThrow(
    '--train learns from the answers of one model: leave out --adapter NAME=DIR',
  );
  await refused('--adapter', `none=${join(dir, 'none')}`).toThrow(/none.adapter_config\.json/);
}, 60_000);
