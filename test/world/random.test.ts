// The generator of all random numbers in TypeScript.
import { expect, test } from '@jest/globals';
import { hash, Random } from '../../lib/core/random.js';

test('streams depend only on their seed, in all versions', () => {
  const random = new Random(1);
  expect([random.bits(), random.bits(), random.bits()]).toEqual([3352528072, 1795612492, 2615557341]);
  expect(hash('red cow bell')).toBe(3950860577);
});

test('a restored state continues with the same numbers', () => {
  const random = new Random('somewhere');
  random.next();
  const again = Random.from(random.state);
  expect(Array.from({ length: 20 }, () => again.bits())).toEqual(Array.from({ length: 20 }, () => random.bits()));
});

test('forks differ from each other and do not change their parent', () => {
  const parent = new Random(3);
  const before = parent.state;
  const [a, b] = [parent.fork('a'), parent.fork('b')];
  expect(parent.state).toEqual(before);
  expect(a.bits()).not.toBe(b.bits());
  expect(parent.fork('a').bits()).toBe(new Random(3).fork('a').bits());
});

test('numbers are uniform, normal, and picked by weight, within five standard errors', () => {
  const random = new Random(5);
  const n = 50_000;
  const counts = new Array<number>(10).fill(0);
  let sum = 0;
  let squares = 0;
  let heavy = 0;
  for (let i = 0; i < n; i++) {
    counts[random.int(10)]!++;
    const z = random.normal();
    sum += z;
    squares += z * z;
    if (random.weighted([1, 0, 3]) === 2) heavy++;
  }
  for (const count of counts) expect(Math.abs(count - n / 10)).toBeLessThan(5 * Math.sqrt(n * 0.09));
  expect(Math.abs(sum / n)).toBeLessThan(5 / Math.sqrt(n));
  expect(Math.abs(squares / n - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
  expect(Math.abs(heavy / n - 0.75)).toBeLessThan(5 * Math.sqrt(0.1875 / n));
});

test('shuffles and samples lose nothing', () => {
  const random = new Random(7);
  const items = Array.from({ length: 30 }, (_, i) => i);
  expect(random.shuffle(items).sort((a, b) => a - b)).toEqual(items);
  const some = random.sample(items, 12);
  expect(new Set(some).size).toBe(12);
  expect(items).toEqual(Array.from({ length: 30 }, (_, i) => i));
});

test('invalid arguments are named', () => {
  const random = new Random(9);
  expect(() => random.int(0)).toThrow('n is 0, expected a positive integer');
  expect(() => random.pick([])).toThrow('no items');
  expect(() => random.sample([1, 2], 3)).toThrow('n is 3, expected at most the 2 items');
  expect(() => random.weighted([0, 0])).toThrow('sum to 0');
});
