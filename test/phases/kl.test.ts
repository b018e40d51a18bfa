import { describe, expect, test } from '@jest/globals';
import { checkKlControl, klEstimates, nextKlCoef } from '../../lib/phases/ppo/kl.js';

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
  const fixed = { klCoef: 0.02, klTarget: undefined, klHorizon: 10_000 };
  test('fixed stays', () => expect(nextKlCoef(fixed, 0.02, 50, 512)).toBe(0.02));

  const control = { klCoef: 0.1, klTarget: 6, klHorizon: 10_000 };
  test('on target stays', () => expect(nextKlCoef(control, 0.1, 6, 500)).toBe(0.1));
  test('too much KL raises it, at most by 20 % over a horizon', () => {
    expect(nextKlCoef(control, 0.1, 6.6, 500)).toBeCloseTo(0.1 * (1 + (0.1 * 500) / 10_000), 12);
    expect(nextKlCoef(control, 0.1, 600, 500)).toBeCloseTo(0.1 * (1 + (0.2 * 500) / 10_000), 12);
  });
  test('too little lowers it', () => {
    expect(nextKlCoef(control, 0.1, 0, 500)).toBeCloseTo(0.1 * (1 - (0.2 * 500) / 10_000), 12);
  });

  test('0 is refused if it is to be adjusted', () => {
    expect(() => checkKlControl({ ...control, klCoef: 0 })).toThrow('klCoef is 0');
    expect(() => checkKlControl({ ...fixed, klCoef: 0 })).not.toThrow();
  });
});
