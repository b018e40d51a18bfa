import { describe, expect, test } from '@jest/globals';
import { checkKlControl, klEstimates, nextKlCoefficient } from '../../lib/phases/ppo/kl.js';

test('k1, k2, k3 are sums over the tokens of each response', () => {
  const logprobs = Float32Array.of(-1, -2, -0.5);
  const reference = Float32Array.of(-1.5, -1.75, -0.5); // d = 0.5, -0.25, 0
  const { k1, k2, k3 } = klEstimates(logprobs, reference, Int32Array.of(0, 2, 3));
  expect([...k1]).toEqual([0.25, 0]);
  expect([...k2]).toEqual([0.125 + 0.03125, 0]);
  expect(k3[0]).toBeCloseTo(Math.exp(-0.5) - 1 + 0.5 + (Math.exp(0.25) - 1 - 0.25), 12);
  expect(k3[1]).toBe(0);
});

test('k1 and k3 have the expectation KL(p ‖ q); k3 is never negative', () => {
  const p = [0.5, 0.3, 0.2];
  const q = [0.2, 0.5, 0.3];
  const exact = p.reduce((sum, pi, i) => sum + pi * Math.log(pi / q[i]!), 0);
  const each = p.map((pi, i) => klEstimates([Math.log(pi)], [Math.log(q[i]!)], Int32Array.of(0, 1)));
  const expectation = (name: 'k1' | 'k3') => p.reduce((sum, pi, i) => sum + pi * each[i]![name][0]!, 0);
  expect(expectation('k1')).toBeCloseTo(exact, 12);
  expect(expectation('k3')).toBeCloseTo(exact, 12);
  for (const { k3 } of each) expect(k3[0]).toBeGreaterThanOrEqual(0);
});

describe('the coefficient', () => {
  test('fixed stays', () => expect(nextKlCoefficient({ coefficient: 0.02 }, 0.02, 50, 512)).toBe(0.02));

  const control = { coefficient: 0.1, target: 6, horizon: 10_000 };
  test('on target stays', () => expect(nextKlCoefficient(control, 0.1, 6, 500)).toBe(0.1));
  test('too much KL raises it, at most by 20 % over a horizon', () => {
    expect(nextKlCoefficient(control, 0.1, 6.6, 500)).toBeCloseTo(0.1 * (1 + (0.1 * 500) / 10_000), 12);
    expect(nextKlCoefficient(control, 0.1, 600, 500)).toBeCloseTo(0.1 * (1 + (0.2 * 500) / 10_000), 12);
  });
  test('too little lowers it', () => {
    expect(nextKlCoefficient(control, 0.1, 0, 500)).toBeCloseTo(0.1 * (1 - (0.2 * 500) / 10_000), 12);
  });
  test('the default horizon is 10 000 episodes', () => {
    expect(nextKlCoefficient({ coefficient: 0.1, target: 6 }, 0.1, 60, 10_000)).toBeCloseTo(0.12, 12);
  });

  test.each([
    [{ coefficient: -1 }, 'kl.coefficient is -1'],
    [{ coefficient: Number.NaN }, 'kl.coefficient is NaN'],
    [{ coefficient: 0, target: 6 }, 'kl.coefficient is 0'],
    [{ coefficient: 0.1, target: 0 }, 'kl.target is 0'],
    [{ coefficient: 0.1, target: 6, horizon: -5 }, 'kl.horizon is -5'],
  ])('%j is refused', (bad, message) => expect(() => checkKlControl(bad)).toThrow(message));
});
