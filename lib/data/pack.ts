import type { PackedBatch } from '../runtime/batch.js';
import { lossTokens, type TrainSequence } from './types.js';

/**
 * Packs sequences into one batch: a segment per sequence, a row per token of its spans. With one span the rows are those of
 * `packResponses` with one response, for a document those of `packDocuments`; results are bit-identical.
 *
 * @throws RangeError that names the sequence
 */
export function packSequences(sequences: readonly TrainSequence[]): PackedBatch {
  sequences.forEach(check);
  const count = sequences.length;
  const tokens = new Int32Array(sequences.reduce((n, s) => n + s.tokens.length, 0));
  const R = sequences.reduce((r, s) => r + lossTokens(s), 0);
  const rows = new Int32Array(R);
  const targets = new Int32Array(R);
  const cuSeqlens = new Int32Array(count + 1);
  const cuRows = new Int32Array(count + 1);
  let n = 0;
  let r = 0;
  sequences.forEach((sequence, s) => {
    tokens.set(sequence.tokens, n);
    for (let i = 0; i < sequence.spans.length; i += 2) {
      for (let t = sequence.spans[i]!; t < sequence.spans[i + 1]!; t++) {
        rows[r] = n + t - 1;
        targets[r++] = sequence.tokens[t]!;
      }
    }
    n += sequence.tokens.length;
    cuSeqlens[s + 1] = n;
    cuRows[s + 1] = r;
  });
  return { tokens, cuSeqlens, parent: new Int32Array(count).fill(-1), rows, targets, cuRows };
}

function check({ tokens, spans }: TrainSequence, s: number): void {
  let before = 1;
  for (let i = 0; i < spans.length; i += 2) {
    const start = spans[i]!;
    const end = spans[i + 1]!;
    if (!(start >= before && end > start && end <= tokens.length)) {
      throw new RangeError(
        `sequence ${s}: span [${start}, ${end}) is not within [${before}, ${tokens.length}), expected ascending spans from 1 on`,
      );
    }
    before = end;
  }
  if (spans.length === 0) throw new RangeError(`sequence ${s} has no spans, expected at least one`);
}
