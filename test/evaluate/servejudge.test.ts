// heed serve as the judge of heed eval: a small model behind the same API, first one that knows nothing of judging, then one that learnt verdicts.
import { setTimeout } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { judgeByPair } from '../../lib/evaluate/judges.js';
import { winReport } from '../../lib/evaluate/wins.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { finish, Tokenizer, trainSft } from '../../lib/index.js';
import { judge } from '../../lib/rewards/index.js';
import { base, start, theModel } from '../serve/service.js';

const prompts = ['dog', 'cow', 'cat', 'hen', 'pig', 'owl'].map((animal) => ({
  text: `what does a ${animal} say?`,
  category: undefined,
  row: {},
}));
const answers = [
  { model: 'a', texts: ['woof.', 'moo.', 'meow.', 'cluck.', 'oink.', 'hoo.'] },
  { model: 'b', texts: ['the sun.', 'a tree.', 'the rain.', 'a house.', 'the sea.', 'hoo.'] },
];
/** What the judge is taught to say, by animal: A for what is read first, whatever it is; verdicts that agree in both orders; and others. */
const verdicts: Readonly<Record<string, (first: string) => string>> = {
  dog: (first) => (first === 'woof.' ? 'A' : 'B'),
  cow: () => 'A',
  cat: () => 'TIE',
  hen: (first) => (first === 'cluck.' ? 'tie.' : 'B'), // a tie in one order and a verdict in the other
  pig: () => 'both are good',
};

test('nonsense of a real model is no verdict; verdicts in both orders, ties, position bias and abstentions are counted as they are', async () => {
  const options = { retries: 0, timeout: 120_000 };
  const untrained = await start();
  const before = await judgeByPair(
    'judge',
    judge({ url: `${untrained.url}/v1`, model: 'base' }),
    prompts,
    answers,
    options,
  );
  expect(before.comparisons.map(({ prompt, outcome }) => [prompt, outcome])).toEqual([['what does a owl say?', 0.5]]);
  expect(before.failed).toBe(5);
  expect(before.lastError).toMatch(
    /^the judge at http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions said ".*, expected A, B or TIE$/,
  );
  // What it was asked, as the service wrote it for the model: ten questions, both orders of five pairs.
  const database = await openFeedback(untrained.feedback);
  const query = database.prepare(
    'SELECT DISTINCT prompts.prompt, prompt_tokens FROM responses JOIN prompts ON prompts.id = responses.prompt',
  );
  let asked: { prompt: string; prompt_tokens: Buffer }[] = [];
  // The other order of a pair that failed may still be being answered.
  while (asked.length < 10) {
    await setTimeout(20);
    asked = query.all() as typeof asked;
  }
  database.close();

  const tokenizer = await Tokenizer.load(base);
  const sequences = [];
  for (const { prompt, prompt_tokens } of asked) {
    const [{ content }] = JSON.parse(prompt) as [{ content: string }];
    const animal = /what does a (\w+) say/.exec(content)![1]!;
    const first = /<answer_A>\n([\s\S]*?)\n<\/answer_A>/.exec(content)![1]!;
    const ids = new Int32Array(new Uint8Array(prompt_tokens).buffer);
    const verdict = [...(await tokenizer.encode(` ${verdicts[animal]!(first)}`)), tokenizer.endOfText];
    sequences.push({
      tokens: Int32Array.from([...ids, ...verdict]),
      spans: Int32Array.of(ids.length, ids.length + verdict.length),
    });
  }
  const model = await (await theModel()).clone();
  let loss = 1;
  await finish(trainSft({ model, sequences, steps: 120, batchSize: 10, learningRate: 2e-3, dropout: 0 }), (metrics) => {
    loss = metrics.loss;
  });
  expect(loss).toBeLessThan(0.05);

  const trained = await start({ model, name: 'judge' });
  const after = await judgeByPair(
    'judge',
    judge({ url: `${trained.url}/v1`, model: 'judge' }),
    prompts,
    answers,
    options,
  );
  expect(
    Object.fromEntries(after.comparisons.map(({ prompt, outcome }) => [/a (\w+) say/.exec(`${prompt}`)![1], outcome])),
  ).toEqual({ dog: 1, cow: 0.5, cat: 0.5, hen: 0.5, owl: 0.5 });
  expect(after.failed).toBe(1);
  expect(after.lastError).toContain('said "both are good", expected A, B or TIE');
  expect(winReport([after]).rates[0]).toMatchObject({ model: 'b', wins: 0, ties: 4, losses: 1, rate: 0.4, prompts: 5 });
  await model.dispose();
}, 300_000);
