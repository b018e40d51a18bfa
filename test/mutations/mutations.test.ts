// Damaged files of every kind: `heed score` gives a result, or a message that names the file. test/mutations/run.mjs runs thousands.
import { expect, test } from '@jest/globals';

const load = async (name: string) => await import(new URL(name, import.meta.url).href);
const { damageBytes, damageJsonText, damageSafetensors, randomOf } = await load('./mutate.mjs');
const { faultOf } = await load('./fault.mjs');

test('models, adapters, tokenizers and data files with seeded damage', async () => {
  const { runMutations } = await load('./run.mjs');
  const { faults, cases, results, messages } = await runMutations({ count: 300, seed: 7, processes: 3 });
  expect(faults).toEqual([]);
  expect(cases).toBe(303);
  // Neither is everything refused, nor is the damage without effect.
  expect(results).toBeGreaterThan(40);
  expect(messages).toBeGreaterThan(150);
}, 240_000);

test('damage is the same for the same seed, and changes the file', () => {
  const bytes = Buffer.from(JSON.stringify({ a: [1, 2, { b: 'text' }], c: null }));
  for (const damage of [damageBytes, damageJsonText]) {
    const all = Array.from({ length: 40 }, (_, seed) => damage(bytes, randomOf(seed)).bytes.toString('latin1'));
    expect(all).toEqual(Array.from(all, (_, seed) => damage(bytes, randomOf(seed)).bytes.toString('latin1')));
    expect(new Set(all).size).toBeGreaterThan(25);
  }
  const header = JSON.stringify({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } });
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  const file = Buffer.concat([size, Buffer.from(header), Buffer.alloc(4)]);
  expect(damageSafetensors(file, randomOf(3)).bytes.equals(file)).toBe(false);
});

test('what counts as a fault', () => {
  const end = { status: 1, text: 'heed: dir/config.json: is odd', rows: [], isWhole: false, mayName: ['config.json'] };
  expect(faultOf(end)).toBeUndefined();
  expect(faultOf({ ...end, isWhole: true })).toMatch(/^the whole file is refused/);
  expect(faultOf({ ...end, text: 'heed: it is odd' })).toMatch(/^a message without the file/);
  expect(faultOf({ ...end, text: "heed: config.json: Cannot read properties of undefined (reading 'x')" })).toMatch(
    /^an internal/,
  );
  expect(faultOf({ ...end, status: 134 })).toMatch(/^exit status 134/);
  expect(faultOf({ ...end, status: 0 })).toBe('no rows were written');
  expect(faultOf({ ...end, status: 0, rows: [{ logprobs: [[-1], [Number.NaN]] }] })).toBe('a result of NaN');
  expect(faultOf({ ...end, status: 0, rows: [{ score: 0 }] })).toBeUndefined();
});
