import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { int64, tableFromArrays, tableToIPC, utf8 } from '@uwdata/flechette';
import { readRows } from '../../lib/data/index.js';
import { lz4Frame } from '../../lib/data/lz4.js';
import { temporaryFolder } from './files.js';

const folder = temporaryFolder();
const tables = join(import.meta.dirname, '../fixtures/tables');
const table = (name: string) => join(tables, name);
const expected = JSON.parse(readFileSync(table('rows.json'), 'utf8')) as Record<string, unknown>[];
const values = async (file: string) => (await readRows(file)).map(({ value }) => value);
const message = (file: string) =>
  readRows(file).then(
    () => 'no error',
    (error) => `${error.name} ${error.message}`,
  );

test.each(['snappy.parquet', 'zstd.parquet', 'gzip.parquet', 'brotli.parquet', 'lines.jsonl.zst'])(
  '%s has the rows that were written',
  async (name) => {
    expect(await values(table(name))).toEqual(expected);
    expect((await readRows(table(name))).map(({ line }) => line)).toEqual(expected.map((_, i) => i + 1));
  },
);

test.each(['lz4.arrow', 'zstd.arrow'])('%s, whose buffers are compressed', async (name) => {
  const text = (i: number) => `word ${i} `.repeat(9000);
  expect(await values(table(name))).toEqual([
    { text: text(0), id: '9007199254740993', scores: [1.5] },
    { text: text(1), id: 5, scores: [] },
    { text: text(2) },
  ]);
});

test('LZ4 frames that are damaged are refused, never read beyond their end', () => {
  // "abcabcabcX" in a frame of one block: three literals, six bytes three back, one literal.
  const block = [0x32, 97, 98, 99, 3, 0, 0x10, 88];
  const frame = (flags: number, ...rest: number[]) => Uint8Array.of(0x04, 0x22, 0x4d, 0x18, flags, 0x40, 0, ...rest);
  const whole = frame(0x60, 8, 0, 0, 0, ...block, 0, 0, 0, 0);
  expect(Buffer.from(lz4Frame(whole, 10)).toString()).toBe('abcabcabcX');
  const plain = frame(0x60, 2, 0, 0, 0x80, 7, 8, 0, 0, 0, 0);
  expect([...lz4Frame(plain, 2)]).toEqual([7, 8]);
  // With sums of blocks, and the size of the content before them.
  expect([...lz4Frame(frame(0x70, 2, 0, 0, 0x80, 7, 8, 1, 1, 1, 1, 0, 0, 0, 0), 2)]).toEqual([7, 8]);
  const sized = Uint8Array.of(
    4,
    0x22,
    0x4d,
    0x18,
    0x68,
    0x40,
    2,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    2,
    0,
    0,
    0x80,
    7,
    8,
    0,
    0,
    0,
    0,
  );
  expect([...lz4Frame(sized, 2)]).toEqual([7, 8]);
  // A second block refers to the first.
  const linked = frame(0x40, 2, 0, 0, 0x80, 7, 8, 5, 0, 0, 0, 0x00, 2, 0, 0x10, 9, 0, 0, 0, 0);
  expect([...lz4Frame(linked, 7)]).toEqual([7, 8, 7, 8, 7, 8, 9]);
  for (let end = 0; end < whole.length; end++) expect(() => lz4Frame(whole.subarray(0, end), 10)).toThrow(/LZ4/);
  expect(() => lz4Frame(whole, 11)).toThrow('an LZ4 frame has 10 bytes, expected 11');
  expect(() => lz4Frame(whole, 9)).toThrow('an LZ4 frame has more bytes than its buffer');
  expect(() => lz4Frame(whole, 5)).toThrow('an LZ4 frame has more bytes than its buffer');
  expect(() => lz4Frame(frame(0x61, 0, 0, 0, 0), 0)).toThrow('needs a dictionary');
  expect(() =>
    lz4Frame(
      Uint8Array.from(whole, (byte, i) => (i === 15 ? 9 : byte)),
      10,
    ),
  ).toThrow('goes back by 9 bytes of 3');
});

test('sizes of compressed buffers that are wrong are named', async () => {
  const bytes = readFileSync(table('zstd.arrow'));
  const at = bytes.indexOf(Buffer.of(0x28, 0xb5, 0x2f, 0xfd)) - 8; // the size is before the frame
  const size = bytes.readBigInt64LE(at);
  for (const [wrong, why] of [
    [size + 1n, `a buffer has ${size} bytes uncompressed, expected ${size + 1n}`],
    [1n << 40n, 'a buffer has 1099511627776 bytes uncompressed'],
  ] as const) {
    const copy = Buffer.from(bytes);
    copy.writeBigInt64LE(wrong, at);
    expect(await message(folder.write('sizes.arrow', copy))).toContain(
      `sizes.arrow: is not a valid Arrow file: ${why}`,
    );
  }
  const before = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0, 4, 0, 0, 0, 0x10, 9, 2, 0, 0, 0, 0, 0);
  expect(() => lz4Frame(before, 5)).toThrow('goes back by 2 bytes of 1');
});

test('a table may have several columns without a name', async () => {
  expect(await values(folder.write('unnamed.csv', ',prompt,\n1,a,2\n'))).toMatchObject([{ prompt: 'a' }]);
});

describe('a folder', () => {
  test('that datasets saved: the train split, all its shards', async () => {
    expect(await values(table('saved'))).toEqual(expected);
    expect(await values(table('saved/train'))).toEqual(expected);
    expect(await values(table('saved/test'))).toEqual(expected.slice(0, 1));
    expect((await readRows(table('saved')))[6]).toMatchObject({
      file: table('saved/train/data-00001-of-00002.arrow'),
      line: 1,
    });
  });

  test('of files: those of the train split if there are splits', async () => {
    const files = { 'train-0.jsonl': 0, 'train-1.jsonl': 1, 'test-0.jsonl': 2, 'README.md': 3 };
    const write = (names: readonly string[]) => {
      const dir = folder.path(names.join(' ').slice(0, 60));
      mkdirSync(join(dir, 'data'), { recursive: true });
      for (const name of names)
        writeFileSync(join(dir, 'data', name), JSON.stringify({ a: files[name as keyof typeof files] }));
      return dir;
    };
    expect(await values(write(Object.keys(files)))).toEqual([{ a: 0 }, { a: 1 }]);
    const named = { 'train_sft-0.jsonl': 4, 'test_sft-0.jsonl': 5, 'train_sft-0.jsonl.gz': 6, 'dataset_infos.json': 7 };
    Object.assign(files, named);
    expect(await values(write(Object.keys(named)))).toEqual([{ a: 4 }]);
    expect(await message(write(['test-0.jsonl']))).toContain('has no train split, only test-0.jsonl');
  });

  test('with rows selected by indices, with other files, without a train split: said', async () => {
    const dir = folder.path('saved');
    mkdirSync(dir);
    writeFileSync(join(dir, 'state.json'), '{"_data_files": [{"filename": "../rows.arrow"}]}');
    expect(await message(dir)).toContain('state.json: _data_files lists no files');
    writeFileSync(join(dir, 'state.json'), '{"_data_files": [], "_indices_files": [{"filename": "indices.arrow"}]}');
    expect(await message(dir)).toContain('save it after flatten_indices()');
    writeFileSync(join(dir, 'dataset_dict.json'), '{"splits": ["test"]}');
    expect(await message(dir)).toContain('has no train split, only test');
    writeFileSync(join(dir, 'dataset_dict.json'), '{"splits": ');
    expect(await message(dir)).toContain('dataset_dict.json: is not valid JSON');
  });
});

describe('tables as text', () => {
  const short = expected.map(({ prompt, score, note }) => ({ prompt, score: String(score), note }));

  test('as datasets exports them', async () => {
    const shown = (await values(table('exported.csv'))).map((row) => ({ ...row, score: String(Number(row.score)) }));
    expect(shown).toEqual(short.map(({ note, ...row }) => (note === undefined ? row : { ...row, note })));
    const lines = await values(table('exported.json'));
    expect(lines.map(({ prompt }) => prompt)).toEqual(short.map(({ prompt }) => prompt));
  });

  test('are recognised by their header; lists are JSON', async () => {
    const rows = [{ prompt: 'a', responses: ['x', 'y'], ranks: [1, 0] }];
    expect(await values(folder.write('a.txt.data', 'prompt,responses,ranks\na,"[""x"",""y""]","[1,0]"\n'))).toEqual(
      rows,
    );
    expect(await values(folder.write('b.data', '\ufeffprompt\tresponse\r\na "b"\tc,d\r\n'))).toEqual([
      { prompt: 'a "b"', response: 'c,d' },
    ]);
    const turns = '"[{""role"": ""user"", ""content"": ""a""}]"';
    expect(await values(folder.write('d.csv', `prompt, chosen\n${turns},b\n`))).toEqual([
      { prompt: [{ role: 'user', content: 'a' }], chosen: 'b' },
    ]);
    expect(await values(folder.write('c.csv', 'question;answer\na;b\n'))).toEqual([{ question: 'a', answer: 'b' }]);
  });

  test('with a broken row: the line', async () => {
    expect(await message(folder.write('a.csv', 'prompt,response\na,b\nc\n'))).toMatch(
      /^DataError .*a.csv:3: is not a valid table/,
    );
    expect(await message(folder.write('b.csv', 'prompt,response\n"a,b\n'))).toContain('b.csv:');
    expect(await message(folder.write('d.csv', 'prompt,response\nsay "hi" now,b\n'))).toContain(
      'd.csv:2: is not a valid table',
    );
    expect(await message(folder.write('e.csv', Buffer.from('prompt,response\na,caf\xe9\n', 'latin1')))).toContain(
      'is not UTF-8',
    );
    expect(await message(folder.write('c.jsonl', 'Dear all,\nhello\n'))).toContain('c.jsonl:1: is not valid JSON');
  });
});

test('an array of JSON, over lines or not, has the line of each element', async () => {
  const file = folder.write('a.json', ' [\n {"a": "],}\\"["},\n {\n"a": [1, {"b": 2}]}]\n');
  expect(await readRows(file)).toEqual([
    { file, line: 2, value: { a: '],}"[' } },
    { file, line: 3, value: { a: [1, { b: 2 }] } },
  ]);
  expect(await values(folder.write('b.json', '[{"a":1},{"a":2}]'))).toEqual([{ a: 1 }, { a: 2 }]);
  expect(await values(folder.write('d.json', '\ufeff[{"a":1}]'))).toEqual([{ a: 1 }]);
  expect(await values(folder.write('c.json', '[]'))).toEqual([]);
});

describe('damaged files are named', () => {
  test.each(['snappy.parquet', 'saved/test/data-00000-of-00001.arrow', 'lines.jsonl.zst'])('%s', async (name) => {
    const whole = readFileSync(table(name));
    for (let cut = 8; cut < whole.length; cut += Math.ceil(whole.length / 40)) {
      const file = folder.write('cut', whole.subarray(0, cut));
      const found = await message(file);
      expect(found).toMatch(/^DataError .*cut(:\d+)?: (is not valid|is not a valid|is not UTF-8)/);
    }
  });

  test('also where only some bytes are wrong', async () => {
    const names = ['snappy.parquet', 'gzip.parquet', 'saved/test/data-00000-of-00001.arrow', 'lines.jsonl.zst'];
    for (const name of names) {
      const whole = readFileSync(table(name));
      for (let i = 0; i < 60; i++) {
        const bytes = Buffer.from(whole);
        const at = (i * 7919) % bytes.length;
        bytes[at] = bytes[at]! ^ (1 << (i % 8));
        const found = await message(folder.write('wrong', bytes));
        expect([name, at, found]).toEqual([name, at, expect.stringMatching(/^(no error|DataError .*wrong)/)]);
      }
    }
  });
});

describe('Arrow files whose lengths or offsets are wrong are refused, not read without end', () => {
  const stream = readFileSync(table('saved/test/data-00000-of-00001.arrow'));
  /** The numbers of 4 bytes that `isOf` picks, each replaced by one that is too large. */
  async function outcomes(isOf: (value: number, at: number) => boolean): Promise<string[]> {
    const found: string[] = [];
    for (let at = 8; at + 4 <= stream.length; at += 4) {
      if (!isOf(stream.readInt32LE(at), at)) continue;
      const copy = Buffer.from(stream);
      copy.writeInt32LE(0x7ffffff0, at);
      found.push(await message(folder.write('rows.arrow', copy)));
    }
    return found;
  }

  test('in the metadata', async () => {
    const end = 8 + stream.readInt32LE(4);
    const all = await outcomes((_, at) => at < end);
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter((text) => /its metadata (is damaged|has a list)/.test(text)).length).toBeGreaterThan(50);
    expect(
      all.filter((text) => text !== 'no error' && !text.includes('rows.arrow: is not a valid Arrow file')),
    ).toEqual([]);
  });

  test('in the columns', async () => {
    // The offsets of the one row's lists and texts.
    const body = 16 + stream.readInt32LE(4);
    const all = await outcomes((value, at) => at > body && value > 0 && value < 64);
    expect(all.filter((text) => /column \w+ has (the offset|\d+ values)/.test(text)).length).toBeGreaterThan(8);
  });
});

test('an Arrow file, which has a footer, is read as the stream in it', async () => {
  const stream = readFileSync(table('saved/test/data-00000-of-00001.arrow'));
  const footer = Buffer.alloc(16);
  const size = Buffer.alloc(4);
  size.writeInt32LE(footer.length);
  const whole = Buffer.concat([Buffer.from('ARROW1\0\0'), stream, footer, size, Buffer.from('ARROW1')]);
  expect(await values(folder.write('whole.arrow', whole))).toEqual(expected.slice(0, 1));
  expect(await message(folder.write('cut.arrow', whole.subarray(0, -1)))).toContain('its end is missing');
  whole.writeInt32LE(whole.length, whole.length - 10);
  expect(await message(folder.write('odd.arrow', whole))).toContain('its footer has');
});

test('whole numbers beyond 2^53 stay what they are, as text', async () => {
  const table = tableFromArrays(
    { prompt: ['a', 'b'], id: [2n ** 53n + 1n, -7n] },
    { types: { prompt: utf8(), id: int64() } },
  );
  const bytes = tableToIPC(table, { format: 'stream' })!;
  expect(await values(folder.write('ids.arrow', bytes))).toEqual([
    { prompt: 'a', id: '9007199254740993' },
    { prompt: 'b', id: -7 },
  ]);
});

test('lines before the header of a table: comments, and the separator that Excel writes', async () => {
  const rows = [{ prompt: 'a, b', response: 'c' }];
  const write = (text: string) => folder.write('table.csv', text);
  expect(await values(write('sep=;\r\nprompt;response\r\na, b;c\r\n'))).toEqual(rows);
  expect(await values(write('\n# exported\n# by hand\nprompt,response\n"a, b",c\n'))).toEqual(rows);
  expect(await values(write('#,prompt,response\n1,"a, b",c\n'))).toEqual([{ '#': '1', ...rows[0] }]);
  expect(await message(write('prompt,response,prompt\na,b,c\n'))).toMatch(/table\.csv:1: has two columns "prompt"/);
  expect((await readRows(write('# by hand\nprompt\nx\n')))[0]!.line).toBe(3);
});
