// What the benchmarks hold results against.
import { expect, test } from '@jest/globals';

// Without types.
const benchmarks = (name: string) => import(`../../benchmarks/${name}.mjs`);
const { Bound, requirePossible } = await benchmarks('limits');
const { alternate, compare, contest, median } = await benchmarks('measure');

const limits = (gflops: number, gbPerS: number) => ({ measure: () => ({ gflops, gbPerS }) });

test('a phase takes as long as the longer of its multiply-adds and its bytes', () => {
  const share = (flops: number, bytes: number, seconds: number) => {
    const bound = new Bound([{ flops, bytes }], limits(100, 10));
    bound.observe();
    return bound.share(seconds);
  };
  // 0.01 s of arithmetic
  expect(share(1e9, 1e6, 0.02)).toEqual({ percentOfBound: expect.closeTo(50), limitedBy: 'arithmetic' });
  // 0.1 s of reading
  expect(share(1e9, 1e9, 0.2)).toEqual({ percentOfBound: expect.closeTo(50), limitedBy: 'memory' });
  expect(share(0, 1e9, 0.1)).toEqual({ percentOfBound: expect.closeTo(100), limitedBy: 'memory' });
});

test('phases add up, each with its own longer side', () => {
  const phases = [
    { flops: 1e9, bytes: 1e6 }, // 0.01 s of arithmetic
    { flops: 1e6, bytes: 1e9 }, // 0.1 s of reading
  ];
  const bound = new Bound(phases, limits(100, 10));
  bound.observe();
  expect(bound.share(0.22)).toEqual({ percentOfBound: expect.closeTo(50), limitedBy: 'memory' });
});

test('the size of what a phase works on decides which cache feeds it', () => {
  const sets: number[] = [];
  const bound = new Bound(
    [
      { flops: 1, bytes: 1e9, set: 1e6 },
      { flops: 1, bytes: 5 },
    ],
    {
      measure: ({ set }: { set: number }) => {
        sets.push(set);
        return { gflops: 1, gbPerS: 1 };
      },
    },
  );
  bound.observe();
  expect(sets).toEqual([1e6, 5]);
});

test('the highest limits count, as the best round does', () => {
  const bound = new Bound([{ flops: 1e9, bytes: 1 }]);
  bound.observe([{ gflops: 50, gbPerS: 1 }]);
  bound.observe([{ gflops: 100, gbPerS: 2 }]);
  bound.observe([{ gflops: 80, gbPerS: 1 }]);
  expect(bound.share(0.02).percentOfBound).toBeCloseTo(50);
});

test('a share above 100 % is looked at again before it stands', () => {
  let calls = 0;
  const bound = new Bound([{ flops: 1e9, bytes: 1 }], { measure: () => ({ gflops: 50 + 10 * ++calls, gbPerS: 1 }) });
  bound.observe(); // 60: 0.0167 s
  expect(bound.share(0.0126).percentOfBound).toBeLessThan(100); // 80: 0.0125 s
  expect(calls).toBe(3);
  expect(bound.share(0.001).percentOfBound).toBeGreaterThan(100); // which no limit explains
});

test('rows above their bound fail, by name', () => {
  const row = (name: string, percentOfBound: number) => ({ name, percentOfBound });
  expect(() => requirePossible({ gemm: [row('a', 100), row('b', 3)] })).not.toThrow();
  expect(() => requirePossible({ gemm: [row('a', 100.4)], generate: [row('b', 99), row('c', Number.NaN)] })).toThrow(
    'above 100 % of the bound, which cannot be:\n  gemm, a: 100.4 %\n  generate, c: NaN %',
  );
});

test('contenders take turns in turning order, and what is measured beside takes one', async () => {
  const order: string[] = [];
  const contender = (name: string, times: number[]) => ({
    run: async () => {
      order.push(name);
      return times;
    },
  });
  const results = await alternate([contender('a', [3, 1]), contender('b', [5])], 3, () => order.push('limits'));
  expect(order).toEqual(['a', 'b', 'limits', 'b', 'limits', 'a', 'limits', 'a', 'b']);
  expect(results).toEqual([
    { median: 2, best: 1, calls: 6 },
    { median: 5, best: 5, calls: 3 },
  ]);
  expect(median([4, 1, 3, 2])).toBe(2.5);
});

test('of two ways to run a peer the faster counts', () => {
  const peers = [
    { name: 'x', hugePages: false },
    { name: 'x', hugePages: true },
    { name: 'y', hugePages: false },
  ];
  const result = (seconds: number) => ({ median: seconds, best: seconds, calls: 1 });
  expect(compare(result(1), peers, [result(3), result(2), result(0.5)])).toEqual([
    { name: 'x', hugePages: true, ms: 2000, bestMs: 2000, ratio: 2 },
    { name: 'y', hugePages: false, ms: 500, bestMs: 500, ratio: 0.5 },
  ]);
});

test('a row says what was measured against what', async () => {
  const asked: object[] = [];
  const peer = {
    name: 'peer',
    hugePages: true,
    ask: async (request: object) => {
      asked.push(request);
      return { seconds: [1e6] };
    },
  };
  const row = await contest({
    name: 'case', level: 'cpu portable', run: async () => {}, peers: [peer], others: [{ name: 'other', run: async () => {} }],
    request: { batch: 2 }, bound: new Bound([{ flops: 1, bytes: 1 }], limits(1e6, 1e6)), work: 10, unit: 'tokens', rounds: 2,
    seconds: 0.001,
  }); // biome-ignore format: a table
  expect(asked).toEqual(Array(2).fill({ do: 'run', seconds: 0.001, batch: 2 }));
  expect(row).toMatchObject({ name: 'case', rateUnit: 'tokens/s', limitedBy: 'arithmetic' });
  expect(row.rate).toBeCloseTo(1e4 / row.ms);
  expect(row.peers.map(({ name }: { name: string }) => name)).toEqual(['peer', 'other']);
  expect(row.peers[0].ratio).toBeGreaterThan(1e6);
});
