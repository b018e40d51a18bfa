import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { readEvaluatedPrompts, readOutputs } from '../../lib/evaluate/answers.js';
import { countedLabels } from '../../lib/evaluate/counted.js';
import { compareScores, type Judged, judgeByPair, judgeByScore } from '../../lib/evaluate/judges.js';
import { comparisonsOf, readLabels } from '../../lib/evaluate/labels.js';
import { agreementText, evalPage } from '../../lib/evaluate/page.js';
import { valuesReport } from '../../lib/evaluate/values.js';
import { winReport } from '../../lib/evaluate/wins.js';
import { judge } from '../../lib/rewards/index.js';
import { type Comparison, wilson } from '../../lib/statistics/index.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-wins-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const write = (name: string, rows: readonly unknown[]) => {
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return join(cwd, name);
};

const prompts = ['p0', 'p1', 'p2', 'p3'].map((text, i) => ({ text, category: i < 3 ? 'x' : 'y', row: { answer: i } }));
const answers = [
  { model: 'a', texts: ['long answer', 'same', 'aaa', undefined] },
  { model: 'b', texts: ['short', 'same', 'bbbbbb', 'alone'] },
];
const judged = (comparisons: readonly Comparison[], name = 'j'): Judged => ({ judge: name, comparisons, failed: 0 });
const c = (prompt: string, outcome: number, labeler?: string, a = 'a', b = 'b'): Comparison => ({
  prompt,
  a,
  b,
  outcome,
  ...(labeler === undefined ? {} : { labeler }),
});

describe('judges', () => {
  test('scores: higher wins, equal ties, missing outputs are no comparison, missing scores failed', () => {
    const { comparisons, failed } = compareScores('s', prompts, answers, [
      [2, 1, undefined, 5],
      [1, 1, 9, 9],
    ]);
    expect(comparisons.map(({ prompt, outcome }) => [prompt, outcome])).toEqual([
      ['p0', 1],
      ['p1', 0.5],
    ]);
    expect(failed).toBe(1);
  });
  test('a function scores all outputs to a prompt in one call', async () => {
    const seen: string[] = [];
    const { comparisons } = await judgeByScore(
      'length',
      (some) => {
        seen.push(some.map(({ prompt, response, row }) => `${prompt}:${response}:${row.answer}`).join(' '));
        return some.map(({ response }) => response.length);
      },
      prompts,
      answers,
    );
    expect(seen[0]).toBe('p0:long answer:0 p0:short:0');
    expect(comparisons.map(({ prompt, outcome }) => [prompt, outcome])).toEqual([
      ['p0', 1],
      ['p1', 0.5],
      ['p2', 0],
    ]);
  });
  test('a language model behind a URL sees both orders; where they disagree it is a tie', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (data) => {
        body += data;
      });
      request.on('end', () => {
        const { content } = JSON.parse(body).messages[0] as { content: string };
        const [first, second] = [/<answer_A>\n([\s\S]*?)\n<\/answer_A>/, /<answer_B>\n([\s\S]*?)\n<\/answer_B>/].map(
          (part) => part.exec(content)![1]!,
        );
        asked.push(`${first}|${second}`);
        // Prefers what is longer, but of p2 whatever comes first.
        const word = content.includes('\np2\n') || first!.length > second!.length ? 'A' : 'B';
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ choices: [{ message: { content: word } }] }));
      });
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    try {
      const { comparisons, failed } = await judgeByPair('llm', judge({ url, model: 'm' }), prompts, answers);
      expect(Object.fromEntries(comparisons.map(({ prompt, outcome }) => [prompt, outcome]))).toEqual({
        p0: 1,
        p1: 0.5,
        p2: 0.5,
      });
      expect(failed).toBe(0);
      expect(asked.sort()).toEqual(['aaa|bbbbbb', 'bbbbbb|aaa', 'long answer|short', 'short|long answer']);
    } finally {
      server.close();
    }
  });
  test('a judge that fails is counted, with its words', async () => {
    const failing = () => {
      throw new Error('no such model');
    };
    const found = await judgeByPair('llm', failing, prompts, answers, { retries: 0 });
    expect(found).toMatchObject({
      failed: 2,
      lastError: 'no such model',
      comparisons: [{ prompt: 'p1', outcome: 0.5 }],
    });
  });
});

describe('files', () => {
  test('outputs of several files, named by the row or the file, matched with prompts', async () => {
    const one = write('one.jsonl', [
      { prompt: 'p0', response: 'r0', category: 'x' },
      { instruction: 'p1', output: 'r1', model: 'other' },
    ]);
    const two = write('two.jsonl', [{ prompt: 'p0', completion: 's0' }]);
    const free = await readOutputs([one, two], undefined);
    expect(free.prompts.map(({ text, category }) => [text, category])).toEqual([
      ['p0', 'x'],
      ['p1', undefined],
    ]);
    expect(free.answers).toEqual([
      { model: 'one', texts: ['r0', undefined] },
      { model: 'other', texts: [undefined, 'r1'] },
      { model: 'two', texts: ['s0', undefined] },
    ]);
    const { prompts: asked } = await readEvaluatedPrompts([write('prompts.jsonl', [{ prompt: 'p1' }])]);
    const bound = await readOutputs([one, two], asked);
    expect(bound.answers).toEqual([{ model: 'other', texts: ['r1'] }]);
    expect(bound.unasked).toBe(2);
    expect(bound.firstUnasked).toBe(`"p0" (${one}:1)`);
    const rendered = await readOutputs([two], [{ text: 'raw', category: undefined, row: {} }], { rendered: ['p0'] });
    expect(rendered.answers).toEqual([{ model: 'two', texts: ['s0'] }]);
  });
  test('what is wrong is named with its place', async () => {
    const twice = write('twice.jsonl', [
      { prompt: 'p', response: 'a' },
      { prompt: 'p', response: 'b' },
    ]);
    const copy = write('copy.jsonl', [{ prompt: 'p', response: 'c', model: 'twice' }]);
    await expect(readOutputs([twice, copy], undefined)).rejects.toThrow(
      /copy.jsonl:1: response is a second output of twice to its prompt, of which .*twice.jsonl has the first/,
    );
    expect(await readOutputs([twice], undefined)).toMatchObject({ repeated: 1, answers: [{ texts: ['a'] }] });
    await expect(readOutputs([write('none.jsonl', [{ prompt: 'p' }])], undefined)).rejects.toThrow(
      'none.jsonl:1: has no output',
    );
    expect(await readEvaluatedPrompts([twice])).toMatchObject({ repeated: 1, prompts: [{ text: 'p' }] });
    const labels = write('labels.jsonl', [{ prompt: 'p', responses: ['a', 'b'], ranks: [0] }]);
    await expect(readLabels([labels])).rejects.toThrow('labels.jsonl:1: ranks has length 1, expected 2');
    const checks = ['repeat', 'attention', 'label'].map((purpose) => ({
      prompt: purpose,
      chosen: 'a',
      rejected: 'b',
      purpose,
    }));
    expect(countedLabels(await readLabels([write('checks.jsonl', checks)])).labels.map(({ item }) => item)).toEqual([
      'label',
    ]);
    const unnamed = await readLabels([write('unnamed.jsonl', [{ prompt: 'p', chosen: 'a', rejected: 'b' }])]);
    expect(unnamed[0]).toMatchObject({ labeler: 'unknown', responses: ['a', 'b'], ranks: [0, 1] });
    expect(() => comparisonsOf(unnamed)).toThrow('unnamed.jsonl:1: models is missing');
  });
  test('people: every pair of models of a ranking, with ties; a model against itself says nothing', async () => {
    const file = write('people.jsonl', [
      {
        prompt: 'p',
        responses: ['1', '2', '3'],
        models: ['a', 'b', 'b'],
        ranks: [1, 0, 1],
        labeler: 'ann',
        group: 'g',
      },
    ]);
    const labels = await readLabels([file]);
    expect(labels[0]!.group).toBe('g');
    expect(comparisonsOf(labels).comparisons).toEqual([
      { ...c('p', 0, 'ann'), outputs: ['1', '2'] },
      { ...c('p', 0.5, 'ann'), outputs: ['1', '3'] },
    ]);
  });
});

describe('which labels count', () => {
  const label = (labeler: string | undefined, ranks: readonly number[], more: Record<string, unknown> = {}) => ({
    prompt: 'p',
    responses: ['x', 'y'],
    models: ['a', 'b'],
    ranks,
    ...(labeler === undefined ? {} : { labeler }),
    ...more,
  });
  const outcomes = (labels: Parameters<typeof comparisonsOf>[0]) =>
    comparisonsOf(labels).comparisons.map(({ labeler, outcome }) => `${labeler} ${outcome}`);
  test('repeats and attention items do not, but repeats tell agreement with oneself', async () => {
    const all = await readLabels([
      write('purposes.jsonl', [
        label('ann', [0, 1], { purpose: 'label' }),
        label('bob', [1, 0]),
        label('ann', [1, 0], { purpose: 'repeat' }),
        label('ann', [0, 1], { prompt: 'q', purpose: 'attention' }),
      ]),
    ]);
    const { labels, withRepeats, notes } = countedLabels(all);
    expect(outcomes(labels)).toEqual(['ann 1', 'bob 0']);
    expect(winReport([comparisonsOf(labels)]).rates[0]).toMatchObject({ rate: 0.5, wins: 1, losses: 1, prompts: 1 });
    expect(valuesReport(labels, [], { withRepeats })).toMatchObject({
      labels: 2,
      prompts: 1,
      selfAgreement: { withTies: { value: 0, count: 1 } },
    });
    expect(notes).toEqual([
      '1 ranking of attention items is not counted',
      '1 ranking given a second time to measure agreement with oneself is not counted',
    ]);
    const wrong = write('purpose.jsonl', [label('ann', [0, 1], { purpose: 'test' })]);
    await expect(readLabels([wrong])).rejects.toThrow(
      'purpose.jsonl:1: purpose is "test", expected one of label, repeat, attention',
    );
  });
  test('of the judgements of a labeler of the same responses the last, in whatever order they were shown', async () => {
    const all = await readLabels([
      write('again.jsonl', [
        label('ann', [0, 1]),
        label('ann', [0, 1]),
        label('ann', [0, 1], { responses: ['y', 'x'], models: ['b', 'a'] }), // b
        label('ann', [0, 1], { responses: ['x', 'z'] }), // other responses
        label(undefined, [0, 1]),
        label(undefined, [0, 1]), // who knows whether of the same person
      ]),
    ]);
    const { labels, notes } = countedLabels(all);
    expect(labels.map(({ source }) => source.line)).toEqual([3, 4, 5, 6]);
    expect(notes).toEqual(['2 rankings of responses that the same labeler judged again later are not counted']);
  });
});

describe('win rates', () => {
  test('of the later model against the earlier, with ties by half', () => {
    const { rates } = winReport([judged([c('p0', 0), c('p1', 0.5), c('p2', 1), c('p3', 0)])]);
    expect(rates).toHaveLength(1);
    expect(rates[0]).toMatchObject({
      model: 'b',
      against: 'a',
      rate: 2.5 / 4,
      wins: 2,
      ties: 1,
      losses: 1,
      prompts: 4,
      labelers: undefined,
    });
    const turned = winReport([judged([c('p0', 1, undefined, 'b', 'a')])], { models: ['a', 'b'] });
    expect(turned.rates[0]).toMatchObject({ model: 'b', against: 'a', rate: 1, wins: 1 });
  });
  test('where all outcomes are alike the interval is as wide as Wilson says, for prompts, however often they were judged', () => {
    const rateOf = (comparisons: readonly Comparison[]) => winReport([judged(comparisons)]).rates[0]!;
    const { rate, low, high } = rateOf([c('p0', 1), c('p1', 1), c('p2', 1)]);
    expect([rate, low]).toEqual([0, 0]);
    expect(high).toBeCloseTo(wilson(0, 3).high, 12);
    const often = rateOf(['p0', 'p1', 'p2'].flatMap((p) => ['ann', 'bob', 'cy'].map((labeler) => c(p, 1, labeler))));
    expect(often.high).toBeCloseTo(high, 12);
    const tie = rateOf([c('p0', 0.5)]);
    expect(tie.low).toBeLessThan(0.1);
    expect(tie.high).toBeGreaterThan(0.9);
    const people = ['p0', 'p1'].flatMap((p) => ['ann', 'bob'].map((labeler) => c(p, 1, labeler)));
    const { withTies, withoutTies } = winReport([judged(people)]).agreement[0]!;
    expect(withTies).toMatchObject({ value: 1, low: wilson(2, 2).low, count: 2 });
    expect(withoutTies).toEqual(withTies);
  });
  test('intervals are over labelers too', () => {
    const random = new Random('labelers');
    const bias = [0.9, 0.1, 0.5, 0.7];
    const comparisons = Array.from({ length: 400 }, (_, p) =>
      bias.map((chance, l) => c(`p${p}`, random.chance(chance) ? 1 : 0, `l${l}`)),
    ).flat();
    const width = (of: readonly Comparison[]) => {
      const { low, high } = winReport([judged(of)]).rates[0]!;
      return high - low;
    };
    const blind = comparisons.map(({ labeler: _, ...one }) => one);
    expect(width(comparisons)).toBeGreaterThan(5 * width(blind)); // four people of different minds
    expect(winReport([judged(comparisons)]).rates[0]!.labelers).toBe(4);
  });
  test('categories, tables of more than two models, and no comparison at all', () => {
    const some = [c('p0', 0), c('p3', 1), c('p0', 1, undefined, 'a', 'c')];
    const report = winReport([judged(some)], { categoryOf: (prompt) => (prompt === 'p3' ? 'y' : 'x') });
    expect(report.byCategory.map(({ category, model, rate }) => [category, model, rate])).toEqual([
      ['x', 'b', 1],
      ['x', 'c', 0],
      ['y', 'b', 0],
    ]);
    expect(report.tables.map(({ models }) => models.map(({ model }) => model))).toEqual(
      [['a', 'b', 'c']].map(() => expect.arrayContaining(['a', 'b', 'c'])),
    );
    expect(() => winReport([judged([])])).toThrow('no judge compared two models');
  });
  test('judges of other outputs of the same models neither agree nor disagree; a ranking of two outputs of each model', () => {
    const with_ = (outputs: readonly [string, string], labeler?: string) => ({ ...c('p', 1, labeler), outputs });
    const ranked = (labeler: string) => [0, 1].flatMap((i) => [0, 1].map((j) => with_([`a${i}`, `b${j}`], labeler)));
    const people = judged([...ranked('ada'), ...ranked('bea')], 'people');
    const report = winReport([people, judged([with_(['other', 'texts'])], 'rm')]);
    expect(
      report.agreement.map(({ judge, other, withTies }) => [judge, other, withTies.value, withTies.count]),
    ).toEqual([['people', 'people', 1, 4]]);
    expect(report.apart).toEqual([['people', 'rm']]);
    expect(winReport([people, judged([with_(['a0', 'b1'])], 'rm')]).apart).toEqual([]);
  });
  test('agreement of judges, by hand: over the same outputs, people among themselves without themselves', () => {
    const people = judged(
      [
        c('p0', 1, 'ann'),
        c('p0', 0, 'bob'),
        c('p0', 1, 'ann'),
        c('p1', 0.5, 'ann'),
        c('p1', 0.5, 'bob'),
        c('p2', 1, 'ann'),
      ],
      'people',
    );
    // The model judges in the other order: `b` first.
    const model = judged([c('p0', 0, undefined, 'b', 'a'), c('p1', 1), c('p9', 1)], 'model');
    const { agreement, rates } = winReport([people, model], { models: ['a', 'b'] });
    const found = Object.fromEntries(agreement.map((one) => [`${one.judge}/${one.other}`, one]));
    // p0: ann-bob, bob-ann disagree; p1: alike.
    expect(found['people/people']!.withTies).toMatchObject({ value: 1 / 3, count: 3 });
    expect(found['people/people']!.withoutTies).toMatchObject({ value: 0, count: 2 });
    // p0: ann, bob, ann against 1; p1: two ties against 1.
    expect(found['people/model']!.withTies).toMatchObject({ value: 2 / 5, count: 5 });
    expect(found['people/model']!.withoutTies).toMatchObject({ value: 2 / 3, count: 3 });
    expect(found['model/model']).toBeUndefined();
    expect(rates.map(({ judge, agreement: beside }) => [judge, beside.length])).toEqual([
      ['people', 2],
      ['model', 1],
    ]);
  });
});

test('judges agree on the same outputs only, in whichever order they are given', () => {
  const one = judged([{ ...c('p', 1), outputs: ['x', 'y'] }], 'one');
  const same = judged([{ ...c('p', 0, undefined, 'b', 'a'), outputs: [' y\n', 'x'] }], 'same');
  const other = judged([{ ...c('p', 1), outputs: ['x', 'z'] }], 'other');
  const { agreement } = winReport([one, same, other], { models: ['a', 'b'] });
  expect(agreement.map(({ judge: first, other: second, withTies }) => [first, second, withTies.value])).toEqual([
    ['one', 'same', 1],
  ]);
});

test('the page has every number and escapes what models write', () => {
  const wins = winReport([judged([c('<i>p</i>', 0), c('p1', 0.5)], 'me & you')]);
  const page = evalPage({
    kind: 'eval',
    version: '1',
    date: '2026-01-01T00:00:00Z',
    command: 'heed eval',
    models: ['a', 'b'].map((model) => ({ model, from: 'file', outputs: 2 })),
    prompts: 2,
    wins,
    figures: [
      {
        name: 'MC1',
        model: 'b',
        data: 'x',
        unit: 'share',
        of: 'questions',
        value: 0.25,
        low: 0.125,
        high: 0.5,
        count: 8,
        note: 'chance',
      },
    ],
    samples: [
      { prompt: '<script>alert(1)</script>', answers: [{ model: 'a', text: '</div><img src=x onerror=alert(1)>' }] },
    ],
    notes: ['a <b>note</b>'],
  });
  expect(page).not.toMatch(/<script>alert|<img src=x|<b>note/);
  expect(page).toContain('75.0 %');
  expect(page).toContain('25.0 % [12.5, 50.0]');
  expect(page).toContain('8 questions');
  expect(page).not.toMatch(/(src|href)="?http/);
});

describe('in words', () => {
  const pageOf = (wins: ReturnType<typeof winReport>) =>
    evalPage({
      ...{ kind: 'eval', version: '1', date: '2026-01-01T00:00:00Z', command: 'heed eval' },
      ...{ models: [], prompts: 30, wins, figures: [], samples: [], notes: [] },
    });
  /** `wins` of 30 prompts are won by a. */
  const won = (wins: number, name = 'j') =>
    judged(
      Array.from({ length: 30 }, (_, i) => c(`p${i}`, i < wins ? 1 : 0)),
      name,
    );

  test.each([
    [28, 'a is preferred to b'],
    [15, 'a cannot be told from b'],
    [2, 'a is less preferred than b'],
  ])('of 30 prompts a wins %d: %s', (wins, words) => {
    const share = ((100 * wins) / 30).toFixed(1);
    const page = pageOf(winReport([won(wins)], { models: ['b', 'a'] }));
    expect(page.match(/<p class="lead">(.*?)<\/p>/)![1]).toMatch(
      new RegExp(`^By j, ${words}: preferred in ${share} % \\[.*\\] of 30 prompts, ties counted half\\.$`),
    );
    expect(page).toContain('There is one judge, and nobody to agree with.');
  });

  test('judges who share outputs agree or not; of others that is not known', () => {
    const both = pageOf(winReport([won(28), won(28, 'k')], { models: ['b', 'a'] }));
    expect(both).toMatch(/<td>j and k<\/td><td class="number">100\.0 % \[.*?\]<\/td><td class="number">30<\/td>/);
    const elsewhere = judged([c('q', 1)], 'k');
    const apart = pageOf(winReport([won(28), elsewhere], { models: ['b', 'a'] }));
    expect(apart).toContain('j and k judged no outputs in common: whether they agree is not known.');
    expect(apart).not.toContain('There is one judge');
  });

  test('whom a judge agrees with', () => {
    const withTies = { value: 0.66, low: 0.6, high: 0.72, count: 240 };
    const withoutTies = { value: 0.75, low: 0.7, high: 0.8, count: 200 };
    const of = (judge: string, other: string) => ({ judge, other, withTies, withoutTies: undefined });
    const share = '66.0 % [60.0, 72.0] of 240';
    expect(agreementText(of('j', 'k'))).toBe(`j and k ${share}`);
    expect(agreementText(of('j', 'k'), 'j')).toBe(`k ${share}`);
    expect(agreementText(of('j', 'k'), 'k')).toBe(`j ${share}`);
    expect(agreementText({ ...of('j', 'j'), withoutTies }, 'j')).toBe(
      `among themselves ${share}; without ties 75.0 % [70.0, 80.0] of 200`,
    );
  });
});
