import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from '@jest/globals';
import { type RankedResponses, splitByPrompt, type TrainSequence } from '../../lib/data/index.js';
import { Collector, mapItems, rankingCodec, select, sequenceCodec } from '../../lib/data/items.js';

const sequences = Array.from({ length: 300 }, (_, i): TrainSequence => {
  const tokens = Int32Array.from({ length: 2 + ((i * 37) % 91) }, (_, t) => i * 1000 + t);
  return { tokens, spans: i % 3 === 0 ? Int32Array.of(1, tokens.length) : Int32Array.of(1, 2, 2, tokens.length + 1) };
});
const rankings = sequences.map(({ tokens }, i): RankedResponses => {
  const responses = Array.from({ length: 2 + (i % 4) }, (_, k) => tokens.slice(0, 1 + ((k * 5) % tokens.length)));
  return { prompt: tokens, responses, ranks: Int32Array.from(responses, (_, k) => -k) };
});

function collect<T>(items: readonly T[], codec: ConstructorParameters<typeof Collector<T>>[0], limit: number) {
  const collector = new Collector(codec, limit);
  items.forEach((item, i) => {
    collector.add(item, `key ${i % 70}`, 50);
  });
  return collector.finish();
}

test.each([
  ['in memory', 1e9],
  ['in a file from the first on', 0],
  ['in a file after some', 10_000],
])('items %s are those that were added', (_, limit) => {
  const found = collect(sequences, sequenceCodec, limit).items;
  expect(found.length).toBe(sequences.length);
  expect([...found]).toEqual(sequences);
  expect(found.at(123)).toEqual(sequences[123]);
  expect(found.at(-1)).toEqual(sequences.at(-1));
  expect(found.at(300)).toBeUndefined();
  expect(found.at(-301)).toBeUndefined();
  expect([...collect(rankings, rankingCodec, limit).items]).toEqual(rankings);
  expect(Array.isArray(found)).toBe(limit === 1e9);
});

test('items in a file are split by prompt as well, with some of them', () => {
  const filed = collect(sequences, sequenceCodec, 0);
  const { train, validation } = splitByPrompt(filed, 0.2, 3);
  expect(train.length + validation.length).toBe(300);
  expect(validation.length).toBeGreaterThan(40);
  const prompt = ({ tokens }: TrainSequence) => Math.floor(tokens[0]! / 1000) % 70;
  const held = new Set(Array.from(validation, prompt));
  expect(held.size).toBe(14);
  expect(Array.from(train, prompt).some((each) => held.has(each))).toBe(false);
  expect(validation.at(-1)).toEqual([...validation].at(-1));
  expect(select(filed.items, [5, 2]).at(1)).toEqual(sequences[2]);
  expect(select(filed.items, [5, 2]).at(2)).toBeUndefined();
});

test('items are changed when they are asked for', () => {
  let calls = 0;
  const lengths = mapItems(collect(sequences, sequenceCodec, 0).items, ({ tokens }, i) => {
    calls++;
    return tokens.length + 1000 * i;
  });
  expect(calls).toBe(0);
  expect(lengths.at(-1)).toBe(sequences.at(-1)!.tokens.length + 299_000);
  expect([...lengths]).toEqual(sequences.map(({ tokens }, i) => tokens.length + 1000 * i));
  expect(lengths.at(300)).toBeUndefined();
});

test('no file is left in the temporary folder', () => {
  const before = readdirSync(tmpdir()).filter((name) => name.endsWith('.ids'));
  const { items } = collect(sequences, sequenceCodec, 0);
  expect(readdirSync(tmpdir()).filter((name) => name.endsWith('.ids'))).toEqual(before);
  expect(items.at(0)).toEqual(sequences[0]);
});
