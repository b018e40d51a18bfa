// What the cases measure with: configurations, batches, and what any program must do at least.

import { modelConfig } from '../../dist/lib/huggingface/config.js';

/** GPT-2's architecture. */
export const gpt2Config = ({ layers, heads, channels, vocab, length, positions = length }) =>
  modelConfig('gpt2', {
    numLayers: layers,
    numHeads: heads,
    channels,
    vocabSize: vocab,
    maxPositions: positions,
  });

export const bytesPer = { f32: 4, bf16: 2 };

/**
 * Flops of a forward pass: two per weight of a matrix product and token, or row of the head; and attention.
 *
 * @param pairs how often a query meets a key; rows: of which a head of `outputs` is computed
 */
export function forwardFlops({ layers, channels }, { tokens, pairs, rows, outputs }) {
  return 2 * (12 * layers * channels ** 2 * tokens + outputs * channels * rows) + 4 * layers * channels * pairs;
}

/** How often a query meets a key in a causal sequence, after `before` tokens that were there already. */
export const causalPairs = (length, before = 0) => (length * (length + 1)) / 2 + length * before;

/** Numbers that the model holds. */
export const countParameters = (model) =>
  model.parameters().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);

/**
 * A training step: the backward pass has twice the flops of the forward pass. Every weight is read in both, its gradient is
 * written, then read for the norm and again by AdamW, which reads and writes the weight and two moments in float32, and in bf16
 * writes the rounded weight too.
 */
export function trainingPhase(flops, parameters, dtype, { update = true } = {}) {
  const weight = bytesPer[dtype];
  const perParameter = 2 * weight + 4 + (update ? 4 + 4 + 3 * 8 + (dtype === 'bf16' ? 2 : 0) : 0);
  return { flops: 3 * flops, bytes: perParameter * parameters, set: (weight + (update ? 12 : 4)) * parameters };
}

/** Random sequences of which every position predicts a token, so that both sides do the same work: heed's batch, and JSON. */
export function randomBatch(batch, length, vocab) {
  let state = 12345;
  const draw = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % vocab;
  };
  const rows = Array.from({ length: batch }, () => Array.from({ length: length + 1 }, draw));
  const json = { ids: rows.map((row) => row.slice(0, -1)), targets: rows.map((row) => row.slice(1)) };
  return { packed: packed(json.ids, json.targets), json };
}

/** A batch of sequences of one length, each of whose positions predicts a token. */
export function packed(ids, targets) {
  const [batch, length] = [ids.length, ids[0].length];
  return {
    tokens: Int32Array.from(ids.flat()),
    cuSeqlens: Int32Array.from({ length: batch + 1 }, (_, i) => i * length),
    parent: new Int32Array(batch).fill(-1),
    rows: Int32Array.from({ length: batch * length }, (_, i) => i),
    targets: Int32Array.from(targets.flat()),
    cuRows: Int32Array.from({ length: batch + 1 }, (_, i) => i * length),
  };
}
