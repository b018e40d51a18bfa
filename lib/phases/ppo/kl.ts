/** Estimates of the KL divergence from the reference, and the coefficient of its penalty. */

/**
 * Per response, in nats, Σ over its tokens of three estimates of KL(policy ‖ reference) from samples of the policy, with
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

/** The paper's penalty: one coefficient throughout (Ouyang et al. 2022, app. C.4: 0.02; E.7: 0.01 to 0.02 is best). */
export interface FixedKl {
  readonly coefficient: number;
}

/** Ziegler et al. 2019, §2.2: the coefficient is moved so that the KL per response comes to the target. */
export interface AdaptiveKl {
  /** The first coefficient. */
  readonly coefficient: number;
  /** KL per response to steer to, nats. */
  readonly target: number;
  /** Episodes over which a full error of 20 % moves the coefficient by 20 %. Default 10 000. */
  readonly horizon?: number;
}

export type KlControl = FixedKl | AdaptiveKl;

/**
 * The coefficient for the next iteration. Adaptive: coefficient · (1 + clip(kl / target - 1, ±0.2) · episodes / horizon),
 * where `kl` is the mean Σ k1 per response of the iteration that ended.
 */
export function nextKlCoefficient(control: KlControl, coefficient: number, kl: number, episodes: number): number {
  if (!('target' in control)) return coefficient;
  const error = Math.min(0.2, Math.max(-0.2, kl / control.target - 1));
  return coefficient * (1 + (error * episodes) / (control.horizon ?? 10_000));
}

/** Refuses a control that cannot work, naming the value. */
export function checkKlControl(control: KlControl): void {
  const positive = (name: string, value: number) => {
    if (!(value > 0 && Number.isFinite(value)))
      throw new RangeError(`kl.${name} is ${value}, expected a number above 0`);
  };
  if (!(control.coefficient >= 0 && Number.isFinite(control.coefficient))) {
    throw new RangeError(`kl.coefficient is ${control.coefficient}, expected a number of at least 0`);
  }
  if ('target' in control) {
    positive('coefficient', control.coefficient); // 0 could never grow
    positive('target', control.target);
    positive('horizon', control.horizon ?? 10_000);
  }
}
