import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  ChatTemplate,
  Engine,
  generateText,
  LanguageModel,
  ScalarModel,
  scoreText,
  streamText,
  Tokenizer,
} from '../../lib/index.js';
import { packResponses, packScores } from '../../lib/runtime/batch.js';
import { stopWhen, textOf } from '../../lib/text/stop.js';
import { smallTokenizer } from '../tokenizer/corpus.js';

const base = 'models/base';
const question = 'User: What does the dog say?\nAssistant:';
let engine: Engine;
let model: LanguageModel;
let tokenizer: Tokenizer;

beforeAll(async () => {
  engine = await Engine.create({ threads: 1 });
  model = await LanguageModel.load(engine, base);
  tokenizer = await Tokenizer.load(base);
});
afterAll(() => engine.dispose());

const idsOf = async (text: string) => Int32Array.from([...tokenizer.prefix, ...(await tokenizer.encode(text))]);
const endedOf = async (text: string) => Int32Array.from([...(await tokenizer.encode(text)), tokenizer.endOfText]);

describe('generateText', () => {
  test('gives the generated text, without its end-of-text token', async () => {
    const options = { model, tokenizer, maxNewTokens: 12, temperature: 0 };
    const text = await generateText({ ...options, prompt: question });
    const [expected] = await model.generate([{ prompt: await idsOf(question), seed: 0 }], {
      maxNewTokens: 12,
      temperature: 0,
      stopTokens: [tokenizer.endOfText],
    });
    expect(text).toBe(tokenizer.decode(expected!.tokens));
    expect(text.length).toBeGreaterThan(0);
  });

  test('a response depends on its prompt and the seed, not on the other prompts; equal prompts get different ones', async () => {
    const options = { model, tokenizer, maxNewTokens: 12, seed: 3 };
    const alone = await generateText({ ...options, prompt: question });
    const several = await generateText({ ...options, prompts: ['The cat', question, question] });
    expect(several).toHaveLength(3);
    expect(several[1]).toBe(alone);
    expect(several[2]).not.toBe(alone);
    expect(await generateText({ ...options, seed: 4, prompt: question })).not.toBe(alone);
  });

  test('renders the given template, which messages require', async () => {
    const options = { model, tokenizer, maxNewTokens: 12, temperature: 0 };
    const messages = [{ role: 'user', content: 'What does the dog say?' }];
    const plain = await generateText({ ...options, prompt: question });
    expect(await generateText({ ...options, prompt: messages, template: 'plain' })).toBe(plain);
    expect(await generateText({ ...options, prompt: 'What does the dog say?', template: 'plain' })).toBe(plain);
    const loaded = await ChatTemplate.load('plain', tokenizer);
    expect(await generateText({ ...options, prompt: messages, template: loaded })).toBe(plain);
    await expect(generateText({ ...options, prompt: messages })).rejects.toThrow('messages need a chat template');
  });

  test('ends before a stop string', async () => {
    const options = { model, tokenizer, maxNewTokens: 40, seed: 1, prompt: 'The dog' };
    const whole = await generateText(options);
    const stop = whole.slice(12, 15);
    const cut = whole.slice(0, whole.indexOf(stop));
    expect(await generateText({ ...options, stop })).toBe(cut);
    expect(await generateText({ ...options, stop: ['never there', stop] })).toBe(cut);
    const parts: string[] = [];
    for await (const part of streamText({ ...options, stop })) parts.push(part);
    expect(parts.join('')).toBe(cut);
  });

  test('refuses invalid options by name', async () => {
    const options = { model, tokenizer };
    for (const [given, message] of [
      [{ prompt: '' }, 'the prompt is empty'],
      [{ prompts: ['a', ''] }, 'prompt 1 is empty'],
      [{ prompt: 'a '.repeat(600) }, /^the prompt has \d+ tokens, expected fewer than the model's 256 positions$/],
      [{ prompt: 5 }, 'the prompt is of type number, expected a string or messages'],
      [{}, 'the prompt is of type undefined, expected a string or messages'],
      [{ prompt: [{ role: 'user' }], template: 'plain' }, 'messages[0].content is missing, expected a string'],
      [{ prompt: 'a', temperature: -1 }, 'temperature is -1, expected a number of at least 0'],
      [{ prompt: 'a', topP: 2 }, 'topP is 2, expected'],
      [{ prompt: 'a', maxNewTokens: 0 }, 'maxNewTokens is 0, expected an integer of at least 1'],
    ] as const) {
      await expect(generateText({ ...options, ...given } as never)).rejects.toThrow(message);
    }
  });
});

describe('streamText', () => {
  test('yields the text of generateText in parts', async () => {
    const options = { model, tokenizer, maxNewTokens: 20, seed: 2, prompt: 'The dog' };
    const parts: string[] = [];
    for await (const part of streamText(options)) parts.push(part);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.join('')).toBe(await generateText(options));
  });

  test('an abort ends it with the reason of the signal', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const read = async () => {
      for await (const _ of streamText({ model, tokenizer, prompt: 'The dog', signal: controller.signal }))
        controller.abort(reason);
    };
    await expect(read()).rejects.toBe(reason);
  });
});

describe('scoreText', () => {
  test('a language model gives the log-probability of the response and its end-of-text token', async () => {
    const responses = [' woof', ' the dog says woof.'];
    const ended = await Promise.all(responses.map(endedOf));
    const { logprobs } = await model.logprobs(packResponses([{ prompt: await idsOf(question), responses: ended }]));
    const first = ended[0]!.length;
    const expected = [logprobs.slice(0, first), logprobs.slice(first)].map((x) => x.reduce((sum, y) => sum + y, 0));
    expect(await scoreText({ model, tokenizer, prompt: question, responses })).toEqual(expected);
    expect(await scoreText({ model, tokenizer, prompt: question, response: responses[1]! })).toBe(expected[1]);
    const messages = [{ role: 'user', content: 'What does the dog say?' }];
    expect(await scoreText({ model, tokenizer, prompt: messages, template: 'plain', responses })).toEqual(expected);
  });

  test('a reward model gives its score', async () => {
    const reward = await ScalarModel.from(model, { seed: 1 });
    const response = ' woof';
    const tree = { prompt: await idsOf(question), responses: [await endedOf(response)] };
    const [expected] = await reward.scores(packScores([tree]));
    expect(await scoreText({ model: reward, tokenizer, prompt: question, response })).toBe(expected);
    await expect(scoreText({ model: reward, tokenizer, prompt: '', response })).rejects.toThrow('prompt is empty');
    await reward.dispose();
  });
});

describe('stop strings', () => {
  const small = smallTokenizer();

  test('end a response at the token that completes one, and are not part of it', async () => {
    const ids = await small.encode('some lo mi words\nand more');
    const stops = stopWhen(['\n', 'never'], small)!;
    const at = Array.from(ids, (_, i) => stops(ids.subarray(0, i + 1))).indexOf(true);
    expect(small.decode(ids.subarray(0, at))).not.toContain('\n');
    expect(textOf({ prompt: [], tokens: ids.subarray(0, at + 1) }, small, ['\n'])).toBe('some lo mi words');
    expect(stopWhen(undefined, small)).toBeUndefined();
  });

  test('the first of several counts, within a token too', async () => {
    const text = async (whole: string, ...stop: string[]) =>
      textOf({ prompt: [], tokens: await small.encode(whole) }, small, stop);
    expect(await text('one two three', 'three', 'two')).toBe('one ');
    expect(await text('shoterkalo', 'oterk')).toBe('sh');
    expect(await text('naïve 😀 end', '😀')).toBe('naïve ');
    expect(await text('one', 'two')).toBe('one');
    expect(await text('one')).toBe('one');
  });

  test('may be special tokens, which the text does not show otherwise', async () => {
    const ids = await small.encode('one<|pad|> two<|pad|>\n three');
    const stops = stopWhen(['<|pad|>\n'], small)!;
    const at = Array.from(ids, (_, i) => stops(ids.subarray(0, i + 1))).indexOf(true);
    expect(small.decode(ids.subarray(0, at + 1), false)).toBe('one<|pad|> two<|pad|>\n');
    expect(textOf({ prompt: [], tokens: ids.subarray(0, at + 1) }, small, ['<|pad|>\n'])).toBe('one two');
    expect(textOf({ prompt: [], tokens: ids }, small, ['<|pad|>'])).toBe('one');
  });
});
