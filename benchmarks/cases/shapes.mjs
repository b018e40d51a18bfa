// What the cases measure with: configurations, batches, counts of operations.

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

/** Forward and backward: 6 per weight of a matrix product, and attention over half the square. */
export function flopsPerToken({ layers, channels, vocab, length }) {
  return 6 * (12 * layers * channels * channels + vocab * channels) + 6 * layers * channels * length;
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
  const packed = {
    tokens: Int32Array.from(json.ids.flat()),
    cuSeqlens: Int32Array.from({ length: batch + 1 }, (_, i) => i * length),
    parent: new Int32Array(batch).fill(-1),
    rows: Int32Array.from({ length: batch * length }, (_, i) => i),
    targets: Int32Array.from(json.targets.flat()),
    cuRows: Int32Array.from({ length: batch + 1 }, (_, i) => i * length),
  };
  return { packed, json };
}
