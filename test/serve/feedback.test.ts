// What is learnt from a file of heed serve is what was sampled, and what a client sends back is what it got.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { ChatTemplate, readDemonstrations, readFeedback, readRankings } from '../../lib/data/index.js';
import { readScorable } from '../../lib/data/score.js';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { scoreTree } from '../../lib/text/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, folder, start, theModel } from './service.js';

const post = (url: string, body: object) => ask(url, { body });
const user = (content: string) => ({ role: 'user', content });

async function chat(url: string, messages: object[], more: object = {}) {
  const answer = await post(`${url}/v1/chat/completions`, { messages, max_tokens: 12, seed: 1, ...more });
  expect(answer.status === 200 ? '' : answer.text).toBe('');
  return answer.json();
}

interface Kept {
  readonly prompt_tokens: Uint8Array;
  readonly tokens: Uint8Array;
  readonly text: string;
  readonly finish: string;
}
async function kept(file: string): Promise<Kept[]> {
  const database = await openFeedback(file, { readOnly: true });
  const rows = database
    .prepare('SELECT prompt_tokens, tokens, text, finish FROM responses ORDER BY id')
    .all() as Kept[];
  database.close();
  return rows;
}
const ids = (blob: Uint8Array) => [...new Int32Array(blob.slice().buffer)];
const options = async (template = 'plain') => {
  const tokenizer = await Tokenizer.load(base);
  return { tokenizer, maxLength: 512, template: await ChatTemplate.load(template, tokenizer) };
};

/** Two answers to each of some chats, the last cut off; what `say` says of them is sent. */
async function served(say: (id: string, i: number) => object[]) {
  const { url, feedback, close } = await start();
  for (let i = 0; i < 5; i++) {
    const { id } = await chat(url, [user(`What does the dog say ${i}?`)], { n: 2, seed: i, max_tokens: 3 + 8 * i });
    for (const body of say(id, i)) expect((await post(`${url}/feedback`, body)).status).toBe(200);
  }
  await close();
  return feedback;
}

test('thumbs are read with the ids that were sampled, without an end that was not', async () => {
  const file = await served((id) => [0, 1].map((index) => ({ id, index, thumb: index === 0 })));
  const answers = await kept(file);
  expect(new Set(answers.map(({ finish }) => finish))).toContain('length');
  const { items, report } = await readFeedback([file], await options());
  expect([items.length, report.otherTokens]).toEqual([10, 0]);
  expect([...items].map(({ prompt, response }) => [[...prompt], [...response]])).toEqual(
    answers.map((each) => [ids(each.prompt_tokens), ids(each.tokens)]),
  );
  const scored = await readScorable([file], { ...(await options()), vocabSize: 100_000, maxPositions: 512 });
  expect(scored.map(({ tree }) => Array.from(tree!.responses[0]!))).toEqual(answers.map(({ tokens }) => ids(tokens)));
});

test('rankings, edits and unchanged answers are read with the ids that were sampled', async () => {
  const file = await served((id, i) => [
    { ranking: [0, 1].map((index) => ({ id, index, rank: index })) },
    ...(i === 4 ? [{ id, edit: 'It says woof.' }] : []),
  ]);
  const answers = await kept(file);
  const { items } = await readRankings([file], await options());
  expect(items.length).toBe(6); // five rankings and an edit
  for (let i = 0; i < 5; i++)
    expect(items.at(i)!.responses.map((each) => [...each])).toEqual(
      answers.slice(2 * i, 2 * i + 2).map(({ tokens }) => ids(tokens)),
    );
  const { tokenizer } = await options();
  const edited = items.at(5)!;
  expect([...edited.ranks]).toEqual([0, 1]);
  expect(edited.responses.map((each) => tokenizer.decode(each))).toEqual([' It says woof.', ` ${answers[8]!.text}`]);
  const { items: shown } = await readDemonstrations([file], await options());
  expect(tokenizer.decode(shown.at(0)!.tokens)).toContain('Assistant: It says woof.');

  // An edit that changes nothing approves of the very tokens.
  const same = await served((id, i) => (i === 0 ? [{ id, edit: id }] : []));
  const database = await openFeedback(same);
  database.exec('UPDATE demonstrations SET response = (SELECT text FROM responses WHERE id = edited)');
  database.close();
  const first = (await kept(same))[0]!;
  const { items: approved } = await readDemonstrations([same], await options());
  expect([...approved.at(0)!.tokens]).toEqual([...ids(first.prompt_tokens), ...ids(first.tokens)]);
  expect([...approved.at(0)!.spans]).toEqual([
    ids(first.prompt_tokens).length,
    ids(first.prompt_tokens).length + ids(first.tokens).length,
  ]);
});

test('ids of another tokenizer are not used: the text is, and that is counted', async () => {
  const file = await served((id) => [{ id, thumb: true }]);
  const database = await openFeedback(file);
  const moved = (blob: Uint8Array) => Buffer.from(Int32Array.from(ids(blob), (id) => id + 1).buffer);
  for (const { id, tokens } of database.prepare('SELECT id, tokens FROM responses').all() as never[])
    database.prepare('UPDATE responses SET tokens = ? WHERE id = ?').run(moved(tokens), id);
  database.close();
  const answers = (await kept(file)).filter((_, i) => i % 2 === 0);
  const { items, report } = await readFeedback([file], await options());
  expect(report.otherTokens).toBe(5);
  const { tokenizer } = await options();
  answers.forEach(({ text, finish }, i) => {
    const { response } = items.at(i)!;
    expect(tokenizer.decode(response)).toBe(` ${text}`);
    expect(response.at(-1) === tokenizer.endOfText).toBe(finish === 'stop');
  });
});

test('who says the same again, or something else, has one vote: the last', async () => {
  const file = await served((id) => [
    ...Array.from({ length: 4 }, () => ({ id, thumb: true, labeler: 'a' })),
    { id, thumb: false, labeler: 'a' },
    { id, thumb: true, labeler: 'b' },
    { ranking: [0, 1].map((index) => ({ id, index, rank: index })), labeler: 'a' },
    { ranking: [1, 0].map((index) => ({ id, index, rank: index })), labeler: 'a' },
  ]);
  const thumbs = await readFeedback([file], await options());
  expect([...thumbs.items].map(({ desirable }) => desirable)).toEqual(
    Array.from({ length: 5 }, () => [false, true]).flat(),
  );
  const rankings = await readRankings([file], await options());
  const second = (await kept(file))[1]!;
  expect(rankings.items.length).toBe(5);
  expect([...rankings.items.at(0)!.responses[0]!]).toEqual(ids(second.tokens));
  expect([...rankings.items.at(0)!.ranks]).toEqual([1, 0]);
  const database = await openFeedback(file, { readOnly: true });
  expect([...feedbackRows(database, 'feedback')].length).toBe(30); // an export has everything
  database.close();
});

test('an answer that is sent back as it was received gives the ids that were sampled', async () => {
  const { url, feedback, close } = await start();
  const first = [user('What does the dog say?')];
  const { choices } = await chat(url, first, { max_tokens: 20, temperature: 0 });
  expect(choices[0].message.content).toMatch(/^\S/);
  const { text } = await ask(`${url}/v1/chat/completions`, {
    body: { messages: first, max_tokens: 20, temperature: 0, stream: true },
  });
  const streamed = text
    .split('\n\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)).choices[0]?.delta.content ?? '')
    .join('');
  expect(streamed).toBe(choices[0].message.content);
  await chat(url, [...first, choices[0].message, user('And the cat?')]);
  await close();
  const [one, , two] = await kept(feedback);
  expect(one!.text).toBe(streamed);
  const before = [...ids(one!.prompt_tokens), ...ids(one!.tokens)];
  expect(ids(two!.prompt_tokens).slice(0, before.length)).toEqual(before);
});

test('scores of answers to messages are those of heed score', async () => {
  const { url } = await start();
  const messages = [user('What does the dog say?')];
  const responses = ['the dog says woof.', ' the dog says woof.'];
  const file = join(folder(), 'rows.jsonl');
  writeFileSync(file, JSON.stringify({ prompt: messages, responses, ranks: [0, 1] }));
  const rows = await readScorable([file], { ...(await options()), vocabSize: 100_000, maxPositions: 512 });
  const expected = await scoreTree(await theModel(), rows[0]!.tree!, undefined);
  const { scores } = (await post(`${url}/score`, { prompt: messages, responses })).json();
  expect(scores).toEqual(expected);
  expect(scores[0]).not.toBeCloseTo(scores[1], 3);
});
