/**
 * Rewards, advantages and their statistics: the O(R) arithmetic of PPO, pure functions in float64.
 *
 * Row t of a response is the state before its t-th token: `values[t]` is V of that state, `rewards[t]` is the token's
 * reward. The score is added at the row of the last generated token (end-of-text, or the last token of a response
 * that was cut off), and the value after it is 0: the environment is a bandit, its episode ends with the response
 * (Ouyang et al. 2022, §3.5 and app. C.4). Arrays of R rows follow `PackedBatch.rows`; response `s` has rows
 * `cuRows[s]` to `cuRows[s + 1]` (exclusive).
 */

/** How a response that was cut off is scored; see `cutOffScores`. */
export type CutOffRule = 'min' | 'subtract' | 'none';

/**
 * Scores after the rule for cut-off responses: `'min'` gives min(score, -penalty), so that no cut-off response scores better than an
 * average demonstration (0); `'subtract'` subtracts the penalty; `'none'` changes nothing. End-of-text is never appended.
 */
export function cutOffScores(
  scores: ArrayLike<number>,
  finished: readonly boolean[],
  rule: CutOffRule,
  penalty: number,
): Float64Array {
  return Float64Array.from(scores, (score, s) => {
    if (finished[s] || rule === 'none') return score;
    return rule === 'min' ? Math.min(score, -penalty) : score - penalty;
  });
}

/** (R) reward of each response token: -klCoef · (logprob - refLogprob), plus the response's score on its last row. */
export function klRewards(o: {
  readonly logprobs: ArrayLike<number>; // (R) nats, as sampled
  readonly refLogprobs: ArrayLike<number>; // (R) nats, under the reference
  readonly scores: ArrayLike<number>; // (S)
  readonly cuRows: Int32Array; // (S + 1)
  readonly klCoef: number;
}): Float64Array {
  const rewards = Float64Array.from(o.logprobs, (logprob, r) => -o.klCoef * (logprob - o.refLogprobs[r]!));
  for (let s = 0; s + 1 < o.cuRows.length; s++) {
    const end = o.cuRows[s + 1]!;
    if (end === o.cuRows[s]) throw new RangeError(`response ${s} is empty, expected at least one token`);
    rewards[end - 1]! += o.scores[s]!;
  }
  return rewards;
}

/**
 * Generalised advantage estimation (Schulman et al. 2015), one backward scan per response:
 * δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γλ A_{t+1}, return_t = A_t + V_t, with V and A zero after the last token.
 */
export function gae(o: {
  readonly rewards: ArrayLike<number>; // (R)
  readonly values: ArrayLike<number>; // (R)
  readonly cuRows: Int32Array; // (S + 1)
  readonly gamma: number;
  readonly lambda: number;
}): { advantages: Float64Array; returns: Float64Array } {
  const numRows = o.rewards.length;
  const advantages = new Float64Array(numRows);
  const returns = new Float64Array(numRows);
  for (let s = 0; s + 1 < o.cuRows.length; s++) {
    let advantage = 0;
    let nextValue = 0;
    for (let r = o.cuRows[s + 1]! - 1; r >= o.cuRows[s]!; r--) {
      const value = o.values[r]!;
      const delta = o.rewards[r]! + o.gamma * nextValue - value;
      advantage = delta + o.gamma * o.lambda * advantage;
      advantages[r] = advantage;
      returns[r] = advantage + value;
      nextValue = value;
    }
  }
  return { advantages, returns };
}

/** Mean and population variance, in two passes; 0 for no values. */
export function moments(x: ArrayLike<number>): { mean: number; variance: number } {
  if (x.length === 0) return { mean: 0, variance: 0 };
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]!;
  const mean = sum / x.length;
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += (x[i]! - mean) ** 2;
  return { mean, variance: squares / x.length };
}

/**
 * (x - mean) / sqrt(population variance + 1e-8), over all given values: the response tokens of a whole iteration, so that
 * the result does not depend on minibatches. Returns float32, the loss's input type.
 */
export function whiten(x: ArrayLike<number>): Float32Array {
  const { mean, variance } = moments(x);
  const inverse = 1 / Math.sqrt(variance + 1e-8);
  return Float32Array.from(x, (value) => (value - mean) * inverse);
}

/** 1 - Var(returns - values) / Var(returns): 1 is a perfect value function, 0 no better than a constant. 0 for constant returns. */
export function explainedVariance(values: ArrayLike<number>, returns: ArrayLike<number>): number {
  const total = moments(returns).variance;
  if (total === 0) return 0;
  const residual = moments(Float64Array.from(returns, (value, r) => value - values[r]!)).variance;
  return 1 - residual / total;
}

/** The entries of x (R) that belong to the picked responses, in the order of `picked`. */
export function takeRows(x: Float32Array, cuRows: Int32Array, picked: readonly number[]): Float32Array {
  let length = 0;
  for (const s of picked) length += cuRows[s + 1]! - cuRows[s]!;
  const out = new Float32Array(length);
  let n = 0;
  for (const s of picked) {
    const part = x.subarray(cuRows[s], cuRows[s + 1]);
    out.set(part, n);
    n += part.length;
  }
  return out;
}
