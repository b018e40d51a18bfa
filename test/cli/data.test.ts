import { resolve } from 'node:path';
import { expect, test } from '@jest/globals';
import { temporaryFolder } from '../data/files.js';
import { heed } from './heed.js';

const folder = temporaryFolder();
const show = async (...args: string[]) => heed(['data', ...args], { cwd: folder.path('') });

test('rows are shown with what is learnt; dropped and wrong ones are named with their reasons', async () => {
  const rows = [
    { prompt: 'Say a.', response: ' lo.' },
    { prompt: 'Say b.', response: '' },
    { prompt: 'Say c.' },
    { prompt: 'Say d.', response: ' something that is longer than all of the others are.' },
    { prompt: 'Say e ', response: 'x' },
    { prompt: 'Say f.' },
  ];
  const file = folder.write('a.jsonl', rows);
  const { status, stdout, stderr } = await show(file, '--max-length', '16', '--rows', '2');
  expect(stderr).toContain('tokens of the embedded base model');
  expect(status).toBe(0);
  const lines = stdout.split('\n');
  expect(lines[0]).toBe(`${file}: read as demonstrations, from the fields prompt, response`);
  expect(stdout).toContain('learnt\nSay a.« lo.<|endoftext|>»\n');
  expect(stdout.match(/^row \d+: \d+ tokens, \d+ learnt$/gm)).toHaveLength(2);
  expect(stdout).toMatch(
    /^6 rows, 2 kept \(\d+ tokens, \d+ with loss\); dropped: 1 empty, 1 longer than 16 tokens.*; wrong: 2$/m,
  );
  expect(stdout).toContain('  dropped, a prompt or response is empty: row 2\n');
  expect(stdout).toContain('  dropped, too long: row 4\n');
  expect(stdout).toContain('  wrong, response is missing, expected a string: row 3, row 6\n');
  const bars = [...stdout.matchAll(/^ +[\d to]+ (█*) ?(\d+)$/gm)].map(([, bar, count]) => [bar!.length, Number(count)]);
  expect(bars.reduce((sum, [, count]) => sum + count!, 0)).toBe(2);
  expect(bars.every(([length, count]) => length! > 0 === count! > 0)).toBe(true);
});

test.each([
  ['rankings', { prompt: 'Say.', responses: ['a', 'b'], ranks: [1, 0] }, 'rank 1, 2 tokens: « a<|endoftext|>»'],
  ['prompts', { messages: [{ role: 'user', content: 'hi' }] }, 'User: hi\nAssistant:'],
  [
    'demonstrations',
    {
      conversations: [
        { from: 'human', value: 'hi' },
        { from: 'gpt', value: 'ho' },
      ],
    },
    '« ho<|endoftext|>»',
  ],
  ['documents', { text: 'a b' }, 'a« b<|endoftext|>»'],
] as const)('%s are told by their fields', async (kind, row, text) => {
  const { stdout, stderr } = await show(folder.write('a.jsonl', [row]), '--template', 'plain');
  expect(stderr).not.toContain('heed:');
  expect(stdout).toContain(`read as ${kind}, `);
  expect(stdout).toContain(text);
});

test('the tokens are those of the model, and no longer than its positions', async () => {
  const model = resolve('test/fixtures/gpt2');
  const file = folder.write('a.txt', `short<|endoftext|>${'long '.repeat(300)}`);
  const own = await show(file, file);
  expect(own.stdout.match(/read as documents/g)).toHaveLength(2);
  expect((await show(file, '--model', model)).stderr).toContain('tokenizer.json');
  expect((await show(folder.write('none.jsonl', ''))).stderr).toContain('none.jsonl: is empty');
  expect((await show(folder.path('nowhere.jsonl'))).stderr).toContain('nowhere.jsonl: does not exist');
});
