import { setImmediate } from 'node:timers';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { kPortion } from '../../lib/core/pace.js';
import { readRows } from '../../lib/data/index.js';
import { streamTexts } from '../../lib/data/texts.js';
import { temporaryFolder, turnsDuring } from './files.js';

const folder = temporaryFolder();
async function readTexts(file: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of streamTexts(file)) texts.push(text);
  return texts;
}
const rejection = async (file: string) =>
  readRows(file).then(
    () => undefined,
    (error) => error,
  );

test('rows are objects, one per line, with their place; empty lines are skipped', async () => {
  const file = folder.write('a.jsonl', '{"a":1}\n\n  {"a":"é"}\r\n{"a":3}');
  expect((await readRows(file)).map(({ line, value }) => [line, value.a])).toEqual([
    [1, 1],
    [3, 'é'],
    [4, 3],
  ]);
  expect((await readRows(file))[0]!.file).toBe(file);
  expect(await readRows(folder.write('empty.jsonl', ''))).toEqual([]);
});

test('whole numbers that no number of JavaScript is are kept as text', async () => {
  const text =
    '{"a": 12345678901234567890, "b": [-9007199254740993,9007199254740991], "c": "id 12345678901234567890 \\"-9007199254740993\\"", ' +
    '"d": 0.12345678901234567, "e": 1e-10, "f": 12345678901234567890.5, "g": 1234567890123456e2}';
  const value = {
    ...{ a: '12345678901234567890', b: ['-9007199254740993', 9007199254740991] },
    ...{ c: 'id 12345678901234567890 "-9007199254740993"', d: Number('0.12345678901234567'), e: 1e-10 },
    ...{ f: Number('12345678901234567890.5'), g: 123456789012345600 },
  };
  for (const file of [folder.write('long.jsonl', text), folder.write('long.json', `[${text}]`)])
    expect((await readRows(file))[0]!.value).toEqual(value);
});

test('gzip is recognised by its content, not its name', async () => {
  const rows = [{ a: 1 }, { a: 2 }];
  const plain = folder.write('a.jsonl', rows);
  const zipped = folder.write('b.jsonl.gz', rows);
  const unnamed = folder.write('c.jsonl', gzipSync(Buffer.from('{"a":1}\n{"a":2}\n')));
  const values = async (file: string) => (await readRows(file)).map((row) => row.value);
  expect(await values(zipped)).toEqual(await values(plain));
  expect(await values(unnamed)).toEqual(await values(plain));
});

test.each([
  ['a broken line', '{"a":1}\n{"a":\n', ':2: is not valid JSON'],
  ['a number', '{"a":1}\n\n5\n', ':3: is a number, expected a JSON object'],
  ['null', 'null\n', ':1: is null, expected a JSON object'],
  ['an array in a line', '{"a":1}\n["a"]\n', ':2: is an array, expected a JSON object'],
  ['an object over lines', '{\n"a": 1\n}\n', '(expected one object per line, or a JSON array)'],
  ['an element that is no object', '[{"a":1},\n\n {"a":2}, 5]', ':3: is a number, expected a JSON object'],
  ['an array with two commas', '[{"a":1}\n,,{"a":2}]', ':2: has a comma without an element beside it'],
  ['an array with a comma at its end', '[{"a":1},\n]', ':2: has a comma without an element beside it'],
  ['an array that is cut short', '[{"a":1},{"a":', ': ends within its JSON array'],
  ['text after an array', '[{"a":1}]\n{"a":2}', ':2: goes on after the end of its JSON array'],
  ['bytes that are not text', Uint8Array.of(0x7b, 0x7d, 0x0a, 0x22, 0xff, 0xfe, 0x22, 0x0a), ':2: is not UTF-8 text'],
])('%s is named as file:line', async (_, content, message) => {
  const file = folder.write('bad.jsonl', content);
  const error = await rejection(file);
  expect(error.name).toBe('DataError');
  expect(error.message).toContain(message);
  expect(error.message.startsWith(file)).toBe(true);
});

test('a missing file, a folder and a cut gzip file are named', async () => {
  expect((await rejection(folder.path('nowhere.jsonl'))).message).toBe(
    `${folder.path('nowhere.jsonl')}: does not exist`,
  );
  expect((await rejection(folder.path(''))).message).toContain('is a folder without data files');
  const whole = gzipSync(Buffer.from('{"a":1}\n'.repeat(100)));
  expect((await rejection(folder.write('cut.gz.jsonl', whole.subarray(0, 20)))).message).toContain(
    'is not valid gzip data',
  );
});

test.each([
  [
    'a pointer of Git LFS',
    'd.jsonl',
    'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    ': is a Git LFS pointer, expected JSON Lines: run `git lfs pull`',
  ],
  ['a web page', 'd.jsonl', '<!DOCTYPE html>\n<html>', ': is an HTML page, expected JSON Lines'],
])('%s is recognised', async (_, name, content, message) => {
  const file = folder.write(name, content);
  expect((await rejection(file)).message).toContain(message);
});

test('a pointer is recognised where text is expected; a page may be text', async () => {
  const pointer = folder.write('d.txt', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n');
  await expect(readTexts(pointer)).rejects.toThrow('d.txt: is a Git LFS pointer, expected text');
  expect(await readTexts(folder.write('page.txt', '<html>a</html>'))).toEqual(['<html>a</html>']);
});

test('messages contain no control characters of the file', async () => {
  const { message } = await rejection(folder.write('d.jsonl', '\u001b[2J{\u0007'));
  expect(message).toContain('is not valid JSON');
  expect([...message].every((character) => character >= ' ')).toBe(true);
});

test('rows do not depend on the chunks of a file', async () => {
  const rows = Array.from({ length: 40 }, (_, i) => ({ i, text: 'é"[\\'.repeat((i * 7919) % 40_000) }));
  for (const name of ['long.jsonl', 'long.jsonl.gz', 'long.json']) {
    const content = name.endsWith('.json') ? JSON.stringify(rows, null, 1) : rows;
    expect((await readRows(folder.write(name, content))).map(({ value }) => value)).toEqual(rows);
  }
  const text = 'é'.repeat(700_001);
  expect((await readTexts(folder.write('long.txt', text)))[0]).toBe(text);
});

describe('reading a file lets the event loop turn', () => {
  const rows = Array.from({ length: 3000 }, (_, i) => ({ prompt: `question ${i}`, text: 'word '.repeat(100) }));
  const bytes = rows.length * 520;

  test('once per portion', async () => {
    const file = folder.write('large.jsonl', rows);
    expect(await turnsDuring(() => readRows(file))).toBeGreaterThan(0.8 * (bytes / kPortion));
  });

  test('and an abort takes effect between two of them', async () => {
    const file = folder.write('large.jsonl', rows);
    const controller = new AbortController();
    const reason = new Error('enough');
    setImmediate(() => controller.abort(reason));
    await expect(readRows(file, { signal: controller.signal })).rejects.toBe(reason);
  });
});

test('text files are documents, separated by end-of-text', async () => {
  expect(await readTexts(folder.write('a.txt', 'one\ntwo'))).toEqual(['one\ntwo']);
  expect(await readTexts(folder.write('b.txt.gz', 'one<|endoftext|>two'))).toEqual(['one', 'two']);
  expect(await readTexts(folder.write('c.jsonl', [{ text: 'one', id: 7 }, { text: 'two' }]))).toEqual(['one', 'two']);
  await expect(readTexts(folder.write('d.jsonl', [{ text: 'one' }, { txt: 'two' }]))).rejects.toThrow(
    'd.jsonl:2: text is missing, expected a string',
  );
});
