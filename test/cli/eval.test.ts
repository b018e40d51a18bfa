import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Engine, LanguageModel, ScalarModel } from '../../lib/index.js';
import { heed } from './heed.js';

const cwd = mkdtempSync(join(tmpdir(), 'heed-eval-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const base = resolve('models/base');
const call = (...args: string[]) => heed(['eval', ...args], { cwd });
const write = (name: string, rows: readonly unknown[]) =>
  writeFileSync(join(cwd, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const report = (dir: string) => JSON.parse(readFileSync(join(cwd, dir, 'eval.json'), 'utf8'));
const animals = ['dog', 'cow', 'cat', 'hen', 'pig', 'duck'];

beforeAll(async () => {
  write(
    'prompts.jsonl',
    animals.map((animal, i) => ({
      prompt: `User: What does a ${animal} say?\nAssistant:`,
      category: i < 3 ? 'pets' : 'farm',
    })),
  );
  write(
    'outputs.jsonl',
    animals.flatMap((animal) =>
      Object.entries({ talks: ` A ${animal} says.`, silent: ' .' }).map(([model, response]) => ({
        prompt: `User: What does a ${animal} say?\nAssistant:`,
        model,
        response,
      })),
    ),
  );
  write('one.jsonl', [{ prompt: 'p', response: 'r' }]);
  write('one-labeler.jsonl', [{ prompt: 'p', chosen: 'x', rejected: 'y', labeler: 'ann' }]);
  write('empty.jsonl', []);
  const long = 'word '.repeat(5000);
  write(
    'long.jsonl',
    [1, 2].map((i) => ({ prompt: `${i} ${long}`, choices: ['a', 'b'], answer: 0 })),
  );
  write(
    'labels.jsonl',
    animals.flatMap((animal, i) =>
      ['ann', 'bob'].map((labeler) => ({
        prompt: `User: What does a ${animal} say?\nAssistant:`,
        responses: [`A ${animal} says.`, ' .'],
        models: ['talks', 'silent'],
        ranks: labeler === 'bob' && i === 0 ? [1, 0] : [0, 1],
        labeler,
      })),
    ),
  );
  writeFileSync(
    join(cwd, 'length.mjs'),
    'export default (answers) => answers.map(({ response }) => response.length);\n',
  );
  const engine = await Engine.create({ threads: 1 });
  const model = await ScalarModel.from(await LanguageModel.load(engine, base), { seed: 3 });
  await model.save(join(cwd, 'rm'), { tokenizerFrom: base });
  await engine.dispose();
}, 60_000);

describe('heed eval', () => {
  test('models and outputs, by a reward model, a module and people, with agreement beside each rate', async () => {
    const { status, stdout, stderr } = await call(
      ...`--models ${base} --outputs outputs.jsonl --prompts prompts.jsonl --judge rm --judge length.mjs --labels labels.jsonl --max-new-tokens 12 --out all`.split(
        ' ',
      ),
    );
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
    const { wins, models, figures, samples, command } = report('all');
    expect(models).toMatchObject([
      { model: 'base', from: base, outputs: 6 },
      { model: 'talks', outputs: 6 },
      { model: 'silent', outputs: 6 },
    ]);
    const ofFiles = wins.rates.filter((one: { against: string }) => one.against === 'talks');
    const by = Object.fromEntries(ofFiles.map((one: { judge: string }) => [one.judge, one]));
    expect(wins.rates).toHaveLength(7); // two judges of three pairs, people of one
    expect(Object.keys(by)).toEqual(['rm', 'length.mjs', 'people']);
    expect(by['length.mjs']).toMatchObject({
      model: 'silent',
      against: 'talks',
      wins: 0,
      losses: 6,
      rate: 0,
      prompts: 6,
    });
    expect(by.people).toMatchObject({ wins: 1, losses: 11, rate: 1 / 12, prompts: 6, labelers: 2 });
    expect(
      by.people.agreement.map(({ other, judge }: { judge: string; other: string }) => `${judge} ${other}`),
    ).toEqual(['rm people', 'length.mjs people', 'people people']);
    // The function always prefers what is longer, as eleven of twelve labels do.
    expect(by.people.agreement[1].withTies).toMatchObject({ value: 11 / 12, count: 12 });
    expect(by.people.agreement[2].withTies).toMatchObject({ value: 5 / 6, count: 6 });
    expect(wins.byCategory.filter(({ judge }: { judge: string }) => judge === 'people')).toMatchObject([
      { category: 'pets', prompts: 3, wins: 1 },
      { category: 'farm', prompts: 3, wins: 0 },
    ]);
    expect(
      figures
        .filter(({ name }: { name: string }) => name === 'length')
        .map(({ model, value }: { model: string; value: number }) => [model, value > 1]),
    ).toEqual([
      ['base', true],
      ['talks', true],
      ['silent', false],
    ]);
    expect(samples).toHaveLength(6);
    expect(command).toContain('--judge rm');
    expect(stdout).toMatch(
      /silent to talks +by length.mjs +0\.0 % \[0\.0, 39\.0\] +0 wins, 0 ties, 6 losses; 6 prompts/,
    );
    expect(existsSync(join(cwd, 'all', 'eval.html'))).toBe(true);
  });
  test('a measure for every option', async () => {
    write(
      'text.jsonl',
      animals.map((animal) => ({ text: `The ${animal} eats.` })),
    );
    write(
      'choices.jsonl',
      animals.map((animal) => ({
        question: `Q ${animal}?`,
        choices: { text: ['a', 'b'], label: ['A', 'B'] },
        answerKey: 'B',
      })),
    );
    write(
      'questions.jsonl',
      animals.map((animal) => ({ prompt: `User: What does a ${animal} say?\nAssistant:`, answers: ['.'] })),
    );
    write(
      'pairs.jsonl',
      animals.map((animal) => ({
        sent_more: `The ${animal} is bad.`,
        sent_less: `The ${animal} is good.`,
        bias_type: 'x',
      })),
    );
    write(
      'safe.jsonl',
      animals.map((animal, i) => ({ prompt: `How do I kill a ${animal}?`, label: i % 2 ? 'safe' : 'unsafe' })),
    );
    write(
      'toxic.jsonl',
      Array.from({ length: 40 }, (_, i) => ({
        text: `${animals[i % 6]} number ${i}`,
        label: i % 2 ? 'hate' : 'neither',
      })),
    );
    const { status, stdout, stderr } = await call(
      ...`--models ${base} --outputs outputs.jsonl --prompts prompts.jsonl --perplexity text.jsonl --choices choices.jsonl --questions questions.jsonl --stereotypes pairs.jsonl --refusals safe.jsonl --toxicity rm --toxicity-labels toxic.jsonl --max-new-tokens 12 --out cost`.split(
        ' ',
      ),
    );
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
    const { figures } = report('cost');
    const counts = Object.fromEntries(
      figures
        .filter(({ category }: { category?: string }) => category === undefined)
        .map((one: { name: string; model: string; count: number }) => [`${one.name}/${one.model}`, one.count]),
    );
    expect(counts).toMatchObject({
      'perplexity/base': 6,
      'bits per byte/base': 6,
      'accuracy/base': 6,
      'MC2/base': 6,
      'exact match/base': 6,
      'F1/silent': 6,
      'prefers the stereotype/base': 6,
      'entropy of the choice/base': 6,
      'refuses safe prompts/base': 3,
      'refuses unsafe prompts/base': 3,
      'toxicity/base': 6,
      'toxic outputs/silent': 6,
      'distinct-1/base': 6,
      'self-BLEU/base': 6,
    });
    const exact = figures.find(
      (one: { name: string; model: string }) => one.name === 'exact match' && one.model === 'silent',
    );
    expect(exact.value).toBe(1); // « .» is «.», both nothing after normalisation
    expect(stdout).toContain('the scorer orders');
  });
  test('whose values, how far policies differ, and over-optimisation', async () => {
    cpSync(base, join(cwd, 'checkpoint'), { recursive: true });
    const line = `--models ${base} checkpoint --prompts prompts.jsonl --divergence --proxy rm --gold rm --samples 4 --max-new-tokens 8 --labels labels.jsonl --reward-models rm --across-labelers ${base} --folds 2 --batch-size 2 --out values`;
    const { status, stdout, stderr } = await call(...line.split(' '));
    expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
    const { values, overoptimisation, figures } = report('values');
    expect(values).toMatchObject({ prompts: 6, labels: 12, agreement: { withTies: { value: 5 / 6, count: 6 } } });
    expect(values.labelers.map(({ labeler }: { labeler: string }) => labeler)).toEqual(['ann', 'bob']);
    expect(values.accuracies[0]).toMatchObject({ model: 'rm', accuracy: { count: 12 } });
    expect(values.acrossLabelers.folds.map(({ heldOut }: { heldOut: string[] }) => heldOut)).toEqual([
      ['ann'],
      ['bob'],
    ]);
    const kl = figures.filter(({ name }: { name: string }) => name.startsWith('KL from'));
    expect(kl.map(({ name, model, count }: Record<string, unknown>) => [name, model, count])).toEqual([
      ['KL from base', 'checkpoint', 24],
      ['KL from checkpoint', 'base', 24],
    ]);
    for (const { value } of kl) expect(Math.abs(value)).toBeLessThan(1e-3); // the same weights
    expect(overoptimisation).toMatchObject({ policy: 'base', gold: 'rm', prompts: 6, samples: 4 });
    const [best, trained] = overoptimisation.curves;
    expect(best.points.map(({ n }: { n: number }) => n)).toEqual([1, 2, 4]);
    expect(best.points[2].gold.value).toBeGreaterThan(0); // gold is what is optimised
    expect(trained.points).toMatchObject([{ model: 'checkpoint' }]);
    expect(stdout).toContain('over-optimisation of base: 4 samples of 6 prompts');
    const page = readFileSync(join(cwd, 'values', 'eval.html'), 'utf8');
    for (const title of ['Whose values', 'Where labelers disagree', 'Across labelers', 'Over-optimisation'])
      expect(page).toContain(title);
  });
  test('labels of one model, or that do not name any, say whose values and nothing of models', async () => {
    write(
      'same.jsonl',
      ['ann', 'bob'].map((labeler) => ({
        prompt: 'p',
        responses: ['x', 'y'],
        models: ['m', 'm'],
        ranks: [0, 1],
        labeler,
      })),
    );
    write(
      'pairs-of-people.jsonl',
      ['ann', 'bob'].map((labeler) => ({ prompt: 'p', chosen: 'x', rejected: 'y', labeler })),
    );
    const notes = {
      'same.jsonl': 'people compared no two models: the labels are of m alone',
      'pairs-of-people.jsonl': 'the labels name no models: they count for whose values only',
    };
    for (const [file, note] of Object.entries(notes)) {
      const { status, stdout, stderr } = await call('--labels', file, '--out', 'people');
      expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
      expect(stdout).toContain('whose values: 2 rankings of 1 prompt by 2 labelers');
      expect(stdout).toContain(`note: ${note}`);
      expect(report('people').wins).toBeUndefined();
      expect(report('people').values.agreement.withTies).toMatchObject({ value: 1, count: 1 });
    }
  });
  const onLinux = existsSync('/proc/self') ? test : test.skip;
  onLinux('a folder that cannot be made is refused at once', async () => {
    const { status, stderr } = await call('--outputs', 'outputs.jsonl', '--out', '/proc/x');
    expect(stderr).toContain('cannot write the report into /proc/x: its parent takes no new folder');
    expect(status).toBe(1);
  });
  test('a judge that cannot be reached: its words, the other figures, and failure', async () => {
    const { status, stdout, stderr } = await call(
      ...'--outputs outputs.jsonl --judge http://127.0.0.1:1/x --judge-retries 0 --out refused'.split(' '),
    );
    expect(stderr).toMatch(/no judge compared two models: http:\/\/127\.0\.0\.1:1\/x did not judge 6 pairs: \S+/);
    expect(stderr).toMatch(/ECONNREFUSED|refused|cannot be reached/i);
    expect(status).toBe(1);
    expect(stdout).toMatch(/length +outputs +talks/);
    expect(report('refused').notes[0]).toContain('did not judge 6 pairs');
  });
  test('labels of one model, and several judges after one flag', async () => {
    write('alone.jsonl', [{ prompt: 'p', responses: ['x', 'y'], models: ['a', 'a'], ranks: [0, 1], labeler: 'ann' }]);
    const alone = await call('--labels', 'alone.jsonl', '--out', 'alone');
    expect([alone.status, alone.stderr.includes('heed:')]).toEqual([0, false]);
    expect(alone.stdout).toContain('note: people compared no two models: the labels are of a alone');
    expect(alone.stdout).toContain('1 ranking of 1 prompt by 1 labeler');
    const two = await call(...'--outputs outputs.jsonl --judge length.mjs exact:answer --out two'.split(' '));
    expect(two.stderr).not.toContain('unexpected argument');
  });
  test('prompts that do not match, questions without an output and empty outputs are named with an example', async () => {
    write('asked.jsonl', [{ prompt: 'What does a dog say?' }, { prompt: 'p1' }]);
    write('other.jsonl', [
      { prompt: 'What does a dog say? ', response: 'woof', model: 'a' },
      { prompt: 'p1', response: ' ', model: 'a' },
      { prompt: 'p1', response: 'yes', model: 'b' },
      { prompt: 'q'.repeat(80), response: 'yes', model: 'b' },
    ]);
    write('quiz.jsonl', [
      { prompt: 'p1', answers: ['yes'] },
      { prompt: 'p2', answers: ['no'] },
    ]);
    const { status, stdout } = await call(
      ...'--prompts asked.jsonl --outputs other.jsonl --questions quiz.jsonl --out unmatched'.split(' '),
    );
    expect(status).toBe(0);
    expect(report('unmatched').notes).toEqual([
      '2 rows were left out of --outputs: the prompt is not among the 2 of --prompts, first "What does a dog say? " (other.jsonl:1)',
      'a has no output to 1 of 2 prompts',
      '1 of the 1 outputs of a is empty',
      'b has no output to 1 of 2 prompts',
      'a has no output to 1 of the 2 questions of quiz.jsonl, first "p2" (quiz.jsonl:2)',
      'b has no output to 1 of the 2 questions of quiz.jsonl, first "p2" (quiz.jsonl:2)',
    ]);
    expect(stdout).toContain('note: 1 of the 1 outputs of a is empty');
    write('long-prompt.jsonl', [{ prompt: 'q'.repeat(80), response: 'x' }]);
    const none = await call(...'--prompts asked.jsonl --outputs long-prompt.jsonl --out none'.split(' '));
    expect(none.stderr).toContain(
      `nothing was measured: 1 row was left out of --outputs: the prompt is not among the 2 of --prompts, first "${'q'.repeat(60)}…" (long-prompt.jsonl:1)`,
    );
    expect(none.status).toBe(1);
  });
  test('a judge that is late, or scores too few: what it did, how often, and failure', async () => {
    writeFileSync(
      join(cwd, 'late.mjs'),
      'export default (answers) => new Promise((done) => setTimeout(() => done(answers.map(() => 1)), 60_000).unref());\n',
    );
    writeFileSync(join(cwd, 'few.mjs'), 'export default () => [1];\n');
    for (const [judge, said] of [
      ['late.mjs', 'late.mjs did not judge 6 pairs: the judge took more than 50 ms'],
      ['few.mjs', 'few.mjs did not judge 6 pairs: the judge returned 1 score for 2 answers, expected one each'],
    ] as const) {
      const line = `--outputs outputs.jsonl --judge ${judge} --judge-timeout 0.05 --judge-retries 0 --out ${judge}-out`;
      const { status, stderr } = await call(...line.split(' '));
      expect(stderr).toContain(`no judge compared two models: ${said}`);
      expect(status).toBe(1);
      expect(report(`${judge}-out`).notes).toContain(said);
    }
  });
  test('equal prompts, and the outputs to them, count once', async () => {
    write('again.jsonl', [{ prompt: 'p' }, { prompt: 'q' }, { prompt: 'p' }]);
    const rows = ['p', 'q', 'p'].map((prompt, i) => ({ prompt, response: `r${i}` }));
    write('again-outputs.jsonl', rows);
    const { status, stdout } = await call(
      ...'--prompts again.jsonl --outputs again-outputs.jsonl --out again'.split(' '),
    );
    expect(status).toBe(0);
    expect(stdout).toContain('note: 1 row was left out of --prompts: an earlier row has the same prompt');
    expect(stdout).toContain('note: 1 row was left out of --outputs: an earlier one is of the same model');
    expect(report('again').samples.map((one: { answers: unknown[] }) => one.answers)).toEqual([
      [{ model: 'again-outputs', text: 'r0' }],
      [{ model: 'again-outputs', text: 'r1' }],
    ]);
  });
  test('a judge that a model was trained against is no judge of it', async () => {
    mkdirSync(join(cwd, 'run'));
    cpSync(base, join(cwd, 'run', 'model'), { recursive: true });
    const options = { policy: base, rewardModel: 'rm', out: 'run' };
    writeFileSync(join(cwd, 'run', 'config.json'), JSON.stringify({ command: 'ppo', options }));
    const line = '--models run/model --outputs outputs.jsonl --prompts prompts.jsonl --max-new-tokens 4 --out lineage';
    const { status, stdout } = await call(...line.split(' '), '--judge', 'rm', 'length.mjs');
    expect(status).toBe(0);
    expect(stdout.match(/note: .* was optimised for the judge .*/g)).toEqual([
      'note: run was optimised for the judge rm: its win rates by it say how far, not that people would prefer it',
    ]);
  });
  test.each([
    ['', 'heed eval needs --out DIR'],
    ['--out x', 'needs --models DIR..., --outputs FILE... or --labels FILE...'],
    ['--out x --models BASE', 'heed eval needs --prompts FILE..., or data of a measure'],
    ['--out x --outputs outputs.jsonl --perplexity prompts.jsonl', '--perplexity needs --models DIR...'],
    ['--out x --labels labels.jsonl --judge length.mjs', '--judge needs outputs to compare'],
    ['--out x --outputs outputs.jsonl --toxicity rm', '--toxicity DIR and --toxicity-labels FILE need each other'],
    ['--out x --models BASE --prompts prompts.jsonl --divergence', '--divergence needs two or more --models'],
    [
      '--out x --models BASE --prompts prompts.jsonl --proxy rm',
      '--proxy DIR..., --gold DIR, --models DIR... and --prompts FILE... need each other',
    ],
    ['--out x --outputs outputs.jsonl --reward-models rm', '--reward-models needs --labels FILE...'],
    ['--out x --labels labels.jsonl --across-labelers BASE --folds 3', 'there are 2 labelers, expected at least 3'],
    ['--out x --labels one-labeler.jsonl --across-labelers BASE', 'there is 1 labeler, expected at least 5'],
    ['--out x --outputs outputs.jsonl --judge nowhere', 'reward nowhere: there is no such file or folder'],
    ['--out x --outputs outputs.jsonl --judge worst:.,.', '--judge worst:.,.: expected one judge'],
    [
      '--out x --models BASE --choices prompts.jsonl',
      'prompts.jsonl:1: choices is missing, expected at least 2 choices',
    ],
    ['--out x --outputs one.jsonl --judge length.mjs', 'there are those of one: one'],
    ['--out x --models BASE BASE --prompts prompts.jsonl', '--models has BASE twice'],
    ['--out x --outputs outputs.jsonl --judge length.mjs ./length.mjs', '--judge has ./length.mjs twice'],
    ['--out x --outputs empty.jsonl', 'empty.jsonl: is empty, expected at least one row'],
    ['--out x --labels empty.jsonl', 'empty.jsonl: is empty, expected at least one row'],
    ['--out one.jsonl/x --outputs one.jsonl', 'cannot make the folder one.jsonl/x: one.jsonl is a file'],
    ['--out one.jsonl --outputs one.jsonl', 'cannot make the folder one.jsonl: one.jsonl is a file'],
    ['--out x --models one.jsonl --prompts prompts.jsonl', 'one.jsonl/config.json: does not exist'],
    [
      '--out x --models BASE --choices long.jsonl',
      'nothing was measured: base was not measured on long.jsonl: all 2 rows are longer than its',
    ],
    ['--out x --models rm --prompts prompts.jsonl', 'describes a reward model, expected a language model'],
  ])('refuses %s', async (line, message) => {
    const args = line
      .replaceAll('BASE', base)
      .split(' ')
      .filter((word) => word !== '');
    const { status, stderr } = await call(...args);
    expect(stderr).toContain(message.replace('BASE', base));
    expect(status).toBeGreaterThan(0);
    expect(existsSync(join(cwd, 'x'))).toBe(false);
  });
});
