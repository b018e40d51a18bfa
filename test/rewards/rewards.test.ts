import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type Answer,
  Engine,
  exactMatch,
  finish,
  httpReward,
  judge,
  matches,
  matchesSchema,
  numericMatch,
  type OnlineMetrics,
  type PromptRow,
  passesTests,
  rewards,
  ScalarModel,
  type TextReward,
  trainGrpo,
} from '../../lib/index.js';
import { guarded } from '../../lib/rewards/guard.js';
import { together } from '../../lib/rewards/index.js';
import { type NamedModels, namedReward } from '../../lib/rewards/spec.js';
import { lastNumber } from '../../lib/rewards/verifiers.js';
import { temporaryFolder } from '../data/files.js';
import { kEnd, shareOf3, tinyModel } from '../phases/support/toy.js';
import { smallTokenizer } from '../tokenizer/corpus.js';

const folder = temporaryFolder();
const context = { signal: undefined, iteration: 0 };
const answer = (response: string, row: Record<string, unknown> = {}, promptIndex = 0): Answer => {
  return { promptIndex, prompt: 'What?', response, finished: true, row };
};
const score = async (reward: TextReward | NamedModels, ...answers: Answer[]) =>
  Array.from(await (reward as TextReward)(answers, context));

describe('verifiers', () => {
  test('exact match is of the text without white space around it and case', async () => {
    const row = { answer: 'New York' };
    expect(await score(exactMatch(), answer(' new  york\n', row), answer('York', row))).toEqual([1, 0]);
    expect(await score(exactMatch('city'), answer('a', { city: 'A' }))).toEqual([1]);
    expect(() => exactMatch()([answer('a', { answer: null }, 4)], context)).toThrow(
      'the row of prompt 4 has no answer: it is null, expected a string or a number',
    );
  });

  test.each([
    ['It is 7.', 7],
    ['3 + 4 = 7', 7],
    ['#### 1,234.5\nmore 9', 1234.5],
    ['\\boxed{12} or \\boxed{-3}, not 5', -3],
    ['1.5e3', 1500],
    ['none', undefined],
    ['1/2', 0.5],
    ['\\frac{3}{4}', 0.75],
    ['.5', 0.5],
    ['is \u22125', -5],
    ['10-5', 5],
    ['10 -5', 5],
    ['3 - 8\n-5', -5],
    ['(1,2)', 2],
    ['1e400', undefined],
  ])('the number of %s', (given, number) => expect(lastNumber(given)).toBe(number));

  test('numeric match has a relative tolerance', async () => {
    const row = { answer: '1000' };
    const found = await score(numericMatch(), answer('1000.0005', row), answer('1000.1', row), answer('?', row));
    expect(found).toEqual([1, 0, 0]);
    const large = { answer: 12345678 };
    expect(await score(numericMatch(), answer('12345670', large), answer('12,345,678', large))).toEqual([0, 1]);
    expect(await score(numericMatch(), answer('0', { answer: 1e-9 }))).toEqual([0]);
    expect(await score(numericMatch('n', { tolerance: 0.1 }), answer('95', { n: 100 }))).toEqual([1]);
    expect(() => numericMatch()([answer('1', { answer: 'many' })], context)).toThrow('is "many", expected a number');
  });

  test('a pattern that backtracks without end does not match', async () => {
    expect(await score(matches(/^yes/i), answer('Yes.'), answer('no'))).toEqual([1, 0]);
    expect(await score(matches(/^(a+)+$/), answer(`${'a'.repeat(40)}b`))).toEqual([0]);
  });

  test('JSON of a schema, fenced or not', async () => {
    const reward = matchesSchema({ type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] });
    const given = ['{"n": 1}', 'Here:\n```json\n{"n": 2}\n```\n', '{"n": "1"}', '{}', 'n'];
    expect(await score(reward, ...given.map((each) => answer(each)))).toEqual([1, 1, 0, 0, 0]);
    const open = matchesSchema({ properties: { a: { type: 'number' } }, required: ['a'] });
    expect(await score(open, answer('{}'), answer('{"a": "x"}'), answer('{"a": 1}'))).toEqual([0, 0, 1]);
    expect(await score(matchesSchema({ const: { a: [1] } }), answer('{"a": [1]}'), answer('{"a": [2]}'))).toEqual([
      1, 0,
    ]);
    const slow = matchesSchema({ type: 'string', pattern: '^(a+)+$' });
    expect(await score(slow, answer(`"${'a'.repeat(40)}!"`), answer('"aaa"'))).toEqual([0, 1]);
    expect(() => matchesSchema({ type: 'nothing' })).toThrow('not a JSON Schema');
  });

  test('code passes its tests within its limits, and has no access to files or processes', async () => {
    const row = { tests: 'if (double(4) !== 8) throw new Error();' };
    const reward = passesTests({ timeout: 4000 });
    const given = [
      'function double(x) { return 2 * x; }',
      'So:\n```js\nconst double = (x) => x + x;\n```',
      'const double = (x) => x;',
      'function double(',
      'while (true) {}',
      'const double = (x) => x; process.exit(0);',
      'const double = (x) => x; /*',
      'const all = []; for (;;) all.push(new Array(1e6).fill(0));',
      'import { readFileSync } from "node:fs"; readFileSync("/etc/passwd"); const double = (x) => 2 * x;',
      'import { execSync } from "node:child_process"; execSync("true"); const double = (x) => 2 * x;',
    ];
    expect(await score(reward, ...given.map((each) => answer(each, row)))).toEqual([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  }, 60_000);

  test('tests of code may be asynchronous; nothing in it sends signals', async () => {
    const reward = passesTests({ timeout: 4000 });
    const later = { tests: 'add(1, 2).then((x) => { if (x !== 3) throw new Error(); });' };
    const runner = {
      tests:
        'import test from "node:test"; import assert from "node:assert"; test("add", () => assert.equal(add(1, 2), 3));',
    };
    const timer = { tests: 'setTimeout(() => { if (add(1, 2) !== 3) throw new Error(); }, 1);' };
    const right = 'function add(a, b) { return a + b; }';
    const wrong = 'function add(a, b) { return a - b; }';
    const cases = [
      answer(`async ${right}`, later),
      answer(`async ${wrong}`, later),
      answer(right, runner),
      answer(wrong, runner),
      answer(right, timer),
      answer(wrong, timer),
      answer(`process.kill(process.ppid, 0); ${right}`, { tests: '' }),
      answer(`\n~~~js\n${right}\n~~~\nUsage:\n~~~js\nadd(1)\n~~~`, timer),
    ];
    expect(await score(reward, ...cases)).toEqual([1, 0, 1, 0, 1, 0, 0, 1]);
  }, 60_000);

  test('the time that code waits for its turn is not that of the reward', async () => {
    const all = Array.from({ length: 3 }, (_, i) => answer('while (true) {}', { tests: '' }, i));
    const { reward, counts } = guarded(passesTests({ timeout: 300 }), { timeout: 200, retries: 0 });
    expect(await score(reward, ...all)).toEqual([0, 0, 0]);
    expect(counts.failed).toBe(0);
  }, 60_000);
});

/** A server that answers each request's JSON body. */
async function serve(
  reply: (body: never, url: string, authorization: string | undefined) => { status?: number; body: string } | undefined,
) {
  const server: Server = createServer(async (request, response) => {
    const found = reply(JSON.parse(await text(request)) as never, request.url!, request.headers.authorization);
    if (!found) return; // never answers
    response.writeHead(found.status ?? 200).end(found.body);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  servers.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

describe('a service', () => {
  const answers = [answer('a', { id: 1 }), answer('bb', { id: 2 })];

  test('gets prompts, responses and rows, and returns scores', async () => {
    const url = await serve(({ answers: given }: { answers: { response: string; row: { id: number } }[] }) => ({
      body: JSON.stringify({ scores: given.map(({ response, row }) => (row.id === 2 ? null : response.length)) }),
    }));
    expect(await score(httpReward(url), ...answers)).toEqual([1, null]);
  });

  test.each([
    ['{"scores": [1]}', 200, 'answered with the scores [1], expected 2 numbers or nulls'],
    ['{"scores": [1, "2"]}', 200, 'expected 2 numbers or nulls'],
    ['<html>', 200, 'answered with what is not JSON: <html>'],
    ['7', 200, 'answered with 7, expected a JSON object'],
    ['no', 503, 'answered with status 503: no'],
  ])('that answers %s fails', async (body, status, message) => {
    const url = await serve(() => ({ body, status }));
    await expect(score(httpReward(url), ...answers)).rejects.toThrow(message);
  });

  test('gets the user and the password of its URL, which no message has', async () => {
    const url = (await serve(() => ({ body: 'no', status: 403 }))).replace('://', '://me:s%20e@');
    const { name, reward } = await namedReward(`1e-1*${url}`);
    expect(name).not.toContain('me');
    await expect(score(reward, ...answers)).rejects.toThrow(/^(?!.*me:).* answered with status 403/);
    const authorized = await serve((_, __, headers) => ({ body: JSON.stringify({ scores: [headers!.length, 0] }) }));
    const length = `Basic ${Buffer.from('me:s e').toString('base64')}`.length;
    expect(await score(httpReward(authorized.replace('://', '://me:s%20e@')), ...answers)).toEqual([length, 0]);
  });

  test('that cannot be reached fails', async () => {
    await expect(score(httpReward('http://127.0.0.1:9'), ...answers)).rejects.toThrow(
      /^http:\/\/127.0.0.1:9\/ cannot be reached: /,
    );
  });
});

describe('a judge', () => {
  const given = ['long answer', 'short', 'mid one'];
  const answers = given.map((each) => answer(each));
  const shown = (content: string, which: 'A' | 'B') =>
    content.match(new RegExp(`<answer_${which}>\\n(.*)\\n</answer_${which}>`))![1]!;
  const judging = (verdict: (a: string, b: string) => string) =>
    serve(({ messages }: { messages: { content: string }[] }, url) => {
      expect(url).toBe('/v1/chat/completions');
      const { content } = messages[0]!;
      const said = verdict(shown(content, 'A'), shown(content, 'B'));
      return { body: JSON.stringify({ choices: [{ message: { content: said } }] }) };
    });

  test('scores by the comparisons that a response wins', async () => {
    const url = await judging((a, b) => (a.length > b.length ? 'A' : 'b.\n'));
    expect(await score(judge({ url: `${url}/v1/`, model: 'm' }), ...answers)).toEqual([1, 0, 0.5]);
    expect(await score(judge({ url: `${url}/v1`, model: 'm' }), ...answers.slice(0, 2))).toEqual([1, 0]);
  });

  test('that prefers what it reads first finds only ties', async () => {
    const url = await judging(() => 'A');
    expect(await score(judge({ url: `${url}/v1`, model: 'm' }), ...answers)).toEqual([0.5, 0.5, 0.5]);
  });

  test('gets the key, the model, the criterion and the question, of each prompt by itself; a tie is half', async () => {
    const asked: { model: string; temperature: number; messages: { role: string; content: string }[] }[] = [];
    const url = await serve((body: (typeof asked)[0], _, authorization) => {
      expect(authorization).toBe('Bearer secret');
      asked.push(body);
      const { content } = body.messages[0]!;
      const word = shown(content, 'A') === 'one' ? 'a!' : shown(content, 'B') === 'one' ? 'B' : 'tie';
      return { body: JSON.stringify({ choices: [{ message: { content: word } }] }) };
    });
    const of = (promptIndex: number, response: string) => ({
      ...{ promptIndex, prompt: `question ${promptIndex}`, response, finished: true, row: {} },
    });
    const all = [of(3, 'one'), of(3, 'two'), of(5, 'three'), of(5, 'four')];
    const reward = judge({ url, model: 'm', apiKey: 'secret', criterion: 'Which is shorter?' });
    expect(await score(reward, ...all)).toEqual([1, 0, 0.5, 0.5]);
    expect(asked.map(({ model, temperature }) => [model, temperature])).toEqual(Array(4).fill(['m', 0]));
    const contents = asked.map(({ messages }) => messages[0]!.content);
    for (const content of contents) expect(content).toMatch(/^Which is shorter\?\n/);
    const of5 = contents.filter((content) => content.includes('<question>\nquestion 5\n</question>'));
    expect(of5.map((content) => [shown(content, 'A'), shown(content, 'B')]).sort()).toEqual([
      ['four', 'three'],
      ['three', 'four'],
    ]);
  });

  test('that answers nonsense, or has nothing to compare, fails', async () => {
    const url = await judging(() => 'Answer A is better');
    await expect(score(judge({ url: `${url}/v1`, model: 'm' }), ...answers)).rejects.toThrow(
      'said "Answer A is better", expected A, B or TIE',
    );
    await expect(score(judge({ url, model: 'm' }), answers[0]!)).rejects.toThrow('prompt 0 has one response');
  });
});

test('an ensemble scores by its mean, its worst, or its mean less the variance', () => {
  expect(together({ by: 'mean' }, [1, 3])).toBe(2);
  expect(together({ by: 'worst' }, [1, 3])).toBe(1);
  expect(together({ by: 'uncertainty', penalty: 0.5 }, [1, 3])).toBe(1.5);
});

describe('the sum of rewards', () => {
  const tokenizer = smallTokenizer();
  const row = (i: number) => ({ file: 'p.jsonl', line: i + 1, value: { answer: `${i}` } });
  const prompts = Array.from({ length: 8 }, (_, i): PromptRow => {
    return { tokens: Int32Array.of(1 + i, 2), text: `prompt ${i}`, row: row(i) };
  });
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.create({ threads: 2, maxTokens: 512 });
  });
  afterAll(() => engine.dispose());

  const episodes = prompts
    .slice(0, 3)
    .flatMap(({ tokens }, promptIndex) =>
      [3, 4].map((token) => ({ promptIndex, prompt: tokens, response: Int32Array.of(token, kEnd), finished: true })),
    );
  const sum = async (sources: Parameters<typeof rewards>[0]) => {
    const found = await rewards(sources, { tokenizer, prompts })(episodes, context);
    return found as { scores: (number | null)[]; metrics: Record<string, number> };
  };

  test('is weighted, with the mean of each in the metrics', async () => {
    const { scores, metrics } = await sum([
      { name: 'index', reward: (all) => all.map(({ promptIndex }) => promptIndex) },
      { name: 'row', weight: -2, reward: async (all) => all.map(({ row: { answer: given } }) => Number(given) + 1) },
    ]);
    expect(scores).toEqual([-2, -2, -3, -3, -4, -4]);
    expect(metrics).toEqual({ 'reward/index': 1, 'reward/row': 2 });
  });

  test('gets the text of responses and prompts', async () => {
    const seen: Answer[] = [];
    await sum([
      {
        name: 'text',
        reward: (all) => {
          seen.push(...all);
          return all.map(() => 0);
        },
      },
    ]);
    expect(seen).toHaveLength(6);
    expect(seen[3]).toMatchObject({ prompt: 'prompt 1', promptIndex: 1, finished: true, row: { answer: '1' } });
    expect(seen[3]!.response).toBe(tokenizer.decodeAfter([2, 2], [4, kEnd]));
  });

  test('skips prompts that fail after the retries, and counts them', async () => {
    const attempts = new Map<number, number>();
    const flaky: TextReward = async (all) => {
      const { promptIndex } = all[0]!;
      attempts.set(promptIndex, (attempts.get(promptIndex) ?? 0) + 1);
      if (promptIndex === 1 || (promptIndex === 2 && attempts.get(2)! < 2)) throw new Error('down');
      return all.map(() => 1);
    };
    const { scores, metrics } = await sum([{ name: 'flaky', reward: flaky, retries: 1 }]);
    expect(scores).toEqual([1, 1, null, null, 1, 1]);
    expect(metrics).toEqual({ 'reward/flaky': 1, 'failed/flaky': 1 });
    expect(Object.fromEntries(attempts)).toEqual({ 0: 1, 1: 2, 2: 2 });
    await expect(sum([{ name: 'flaky', reward: flaky, retries: 0, onFailure: 'stop' }])).rejects.toThrow('down');
  });

  test('ends a reward that takes too long, and one of another length', async () => {
    let aborted = 0;
    const late: TextReward = ([first], { signal }) =>
      first!.promptIndex === 0
        ? new Promise(() => signal!.addEventListener('abort', () => aborted++))
        : [1, first!.promptIndex === 1 ? 2 : 3];
    const { scores, metrics } = await sum([{ name: 'late', reward: late, timeout: 50, retries: 1 }]);
    expect(scores).toEqual([null, null, 1, 2, 1, 3]);
    expect(metrics['failed/late']).toBe(1);
    expect(aborted).toBe(2);
    const short: TextReward = (all) => (all[0]!.promptIndex === 2 ? [1] : [1, 1]);
    expect((await sum([{ name: 'short', reward: short, retries: 0 }])).scores).toEqual([1, 1, 1, 1, null, null]);
    const text = (() => ['1', '2']) as unknown as TextReward;
    await expect(sum([{ name: 'text', reward: text, retries: 0, onFailure: 'stop' }])).rejects.toThrow(
      'the reward returned "1", expected finite numbers or null',
    );
    await expect(sum([{ name: 'all', reward: () => [], retries: 0 }])).rejects.toThrow(
      'the reward all failed for every prompt: the reward returned 0 scores for 2 answers, expected one each',
    );
  });

  test('of reward models is that of each alone', async () => {
    const model = await ScalarModel.from(await tinyModel(engine), { seed: 1 });
    const other = await ScalarModel.from(await tinyModel(engine), { seed: 2 });
    const alone = (await sum([{ name: 'one', reward: model }])).scores;
    const second = (await sum([{ name: 'two', reward: other }])).scores;
    const worst = (await sum([{ name: 'worst', reward: { models: [model, other], by: 'worst' } }])).scores;
    expect(worst).toEqual(alone.map((each, i) => Math.min(each!, second[i]!)));
    expect(new Set(alone).size).toBe(6);
  });

  test('trains, with its terms in the metrics', async () => {
    const policy = await tinyModel(engine);
    const metrics: OnlineMetrics[] = [];
    const byEpisode = rewards(
      [{ name: 'late', reward: (all) => all.map(({ promptIndex }) => (promptIndex === 3 ? null : 0.5)) }],
      { tokenizer, prompts },
    );
    const phase = trainGrpo({
      policy,
      prompts: prompts.map(({ tokens }) => tokens),
      stopTokens: [kEnd],
      reward: async (all, given) => {
        const found = (await byEpisode(all, given)) as { scores: (number | null)[]; metrics: Record<string, number> };
        const scores = found.scores.map((each, i) => (each === null ? null : each + shareOf3(all[i]!.response)));
        return { ...found, scores };
      },
      batchSize: 8,
      samplesPerPrompt: 2,
      iterations: 2,
      maxNewTokens: 4,
      shuffle: false,
    });
    await finish(phase, (each) => void metrics.push(each));
    expect(metrics[0]).toMatchObject({ rewards: { 'reward/late': 0.5 }, skipped: 1, episodes: 14 });
    await policy.dispose();
  });

  test('refuses none, one name twice, and weights that are not finite', () => {
    const one = { name: 'a', reward: () => [] };
    expect(() => rewards([], { tokenizer, prompts })).toThrow('there are no rewards');
    expect(() => rewards([one, one], { tokenizer, prompts })).toThrow('two rewards have the name "a"');
    expect(() => rewards([{ ...one, weight: Number.NaN }], { tokenizer, prompts })).toThrow('the weight of a is NaN');
  });

  test('refuses prompts that lack what a reward needs, before any answer', () => {
    const lacking = prompts.map((each, i) => (i === 2 ? { ...each, row: { ...each.row, value: { other: 1 } } } : each));
    for (const reward of [exactMatch(), numericMatch(), passesTests({ field: 'answer' })])
      expect(() => rewards([{ name: 'a', reward }], { tokenizer, prompts: lacking })).toThrow(
        'the reward a: the row of prompt 2 has no answer: it is missing, expected a string or a number',
      );
    expect(() => rewards([{ name: 'a', reward: exactMatch() }], { tokenizer, prompts })).not.toThrow();
  });
});

describe('rewards by name', () => {
  test.each([
    ['exact:', { answer: 'x' }, 'X', 1],
    ['0.5*numeric:n', { n: 3 }, '3', 1],
    ['-2*regex:^a', {}, 'ab', 1],
    ['tests:check', { check: 'f();' }, 'const f = () => {};', 1],
  ])(
    '%s',
    async (name, row, response, expected) => {
      const { weight, reward } = await namedReward(name);
      expect(weight).toBe(name.includes('*') ? Number(name.split('*')[0]) : 1);
      expect(await score(reward, answer(response, row))).toEqual([expected]);
    },
    30_000,
  );

  test('a schema, a module, a service, the folder of a reward model', async () => {
    const schema = folder.write('s.json', '{"type": "number"}');
    expect(await score((await namedReward(`schema:${schema}`)).reward, answer('4'), answer('x'))).toEqual([1, 0]);
    const url = await serve(() => ({ body: '{"scores": [7]}' }));
    expect(await score((await namedReward(url)).reward, answer('4'))).toEqual([7]);
    expect(await namedReward(`3*${tmpdir()}`)).toEqual({
      name: tmpdir(),
      weight: 3,
      reward: { folders: [tmpdir()], by: 'mean' },
    });
    const name = `worst:${tmpdir()},${folder.path('')}`;
    expect(await namedReward(`0.5*${name}`)).toEqual({
      name,
      weight: 0.5,
      reward: { folders: [tmpdir(), folder.path('')], by: 'worst' },
    });
  });

  test.each([
    ['nothing', 'reward nothing: there is no such file or folder'],
    ['regex:(', 'reward regex:(: Invalid regular expression'],
    ['judge:http://x', 'expected judge:URL#MODEL'],
    ['schema:none.json', 'none.json: cannot be read as JSON'],
    ['http://', 'Invalid URL'],
    ['1.2.3*exact:', 'reward exact:: its weight is 1.2.3, expected a number'],
    ['1e999*exact:', 'its weight is 1e999, expected a number'],
    [`worst:${tmpdir()}`, 'expected worst:DIR,DIR with two folders or more'],
    [`mean:${tmpdir()},none`, 'there is no folder "none"'],
  ])('%s is refused', async (name, message) => {
    await expect(namedReward(name)).rejects.toThrow(message);
  });

  test('a schema that is no object is refused', async () => {
    await expect(namedReward(`schema:${folder.write('list.json', '[]')}`)).rejects.toThrow(
      'list.json: is not a JSON object, expected a JSON Schema',
    );
  });

  test('a module without a function is refused', async () => {
    const file = folder.write('r.mjs', 'export default 3;');
    await expect(namedReward(join(file))).rejects.toThrow('has the default export number, expected a function');
  });
});
