/** Estimates of the KL divergence from the reference, and the coefficient of its penalty. */

/**
 * Per response, the sum over its tokens, in nats, of three estimates of KL(policy ‖ reference) from samples of the policy, with
 * d = logprob - refLogprob (Schulman 2020, "Approximating KL divergence"):
 * k1 = d, unbiased, may be negative on a sample; k2 = d²/2, biased, low variance; k3 = e^-d - 1 + d, unbiased, ≥ 0.
 */
export interface KlEstimates {
  readonly k1: Float64Array; // (S)
  readonly k2: Float64Array; // (S)
  readonly k3: Float64Array; // (S)
}

export function klEstimates(
  logprobs: ArrayLike<number>, // (R)
  refLogprobs: ArrayLike<number>, // (R)
  cuRows: Int32Array, // (S + 1)
): KlEstimates {
  const numResponses = cuRows.length - 1;
  const k1 = new Float64Array(numResponses);
  const k2 = new Float64Array(numResponses);
  const k3 = new Float64Array(numResponses);
  for (let s = 0; s < numResponses; s++) {
    for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++) {
      const d = logprobs[r]! - refLogprobs[r]!;
      k1[s]! += d;
      k2[s]! += 0.5 * d * d;
      k3[s]! += Math.expm1(-d) + d;
    }
  }
  return { k1, k2, k3 };
}

/**
 * The coefficient of the penalty. Fixed throughout as in the paper (Ouyang et al. 2022, app. C.4: 0.02; E.7: 0.01 to 0.02 is
 * best), or, with a target, adjusted so that the KL per response approaches it (Ziegler et al. 2019, §2.2).
 */
export interface KlControl {
  /** The coefficient, or its initial value. */
  readonly klCoef: number;
  /** Target of the KL per response, nats; undefined keeps the coefficient fixed. */
  readonly klTarget: number | undefined;
  /** Number of episodes over which a relative error of 20 % or more changes the coefficient by 20 %. */
  readonly klHorizon: number;
}

/**
 * The coefficient for the next iteration. With a target: klCoef · (1 + clip(kl / klTarget - 1, ±0.2) · episodes / klHorizon),
 * where `kl` is the mean Σ k1 per response of the iteration that ended.
 */
export function nextKlCoef({ klTarget, klHorizon }: KlControl, klCoef: number, kl: number, episodes: number): number {
  if (klTarget === undefined) return klCoef;
  const error = Math.min(0.2, Math.max(-0.2, kl / klTarget - 1));
  return klCoef * (1 + (error * episodes) / klHorizon);
}

/** @throws RangeError when klCoef is 0 and klTarget is given: 0 could never grow */
export function checkKlControl({ klCoef, klTarget }: KlControl): void {
  if (klTarget !== undefined && klCoef === 0)
    throw new RangeError('klCoef is 0, expected a number above 0 when klTarget is given');
}
