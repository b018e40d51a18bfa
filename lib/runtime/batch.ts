/**
 * Sequences packed end to end as segments, without padding or masks. This is the only kind of batch, in TypeScript and in C++.
 *
 * A segment may continue an earlier one, its parent: a token attends to all earlier tokens of its own segment, to itself, and to all
 * tokens of its ancestors; positions count from the root. A prompt with K responses is thus K + 1 segments, and the prompt is
 * computed once, forward and backward.
 */
export interface PackedBatch {
  /** (N) every token of every segment. */
  readonly tokens: Int32Array;
  /** (S + 1) where each segment starts in `tokens`; the last entry is N. */
  readonly cuSeqlens: Int32Array;
  /** (S) the earlier segment that this one continues, or -1. */
  readonly parent: Int32Array;
  /** (R) indices into `tokens`: the positions whose output is computed, in order of response. */
  readonly rows: Int32Array;
  /** (R) the token that each row predicts; empty in a batch of scores or values. */
  readonly targets: Int32Array;
  /** (responses + 1) where each response's rows start in `rows`; the last entry is R. */
  readonly cuRows: Int32Array;
}

/** A batch with one row per response, grouped by prompt. */
export interface ScoreBatch extends PackedBatch {
  /** (trees + 1) where each tree's rows start in `rows`: the responses that a ranking compares. */
  readonly cuGroups: Int32Array;
}

/** A prompt and its responses, as token ids. */
export interface Tree {
  readonly prompt: ArrayLike<number>;
  readonly responses: readonly ArrayLike<number>[];
}

type Rows = 'targets' | 'values' | 'ends';

/**
 * For losses and log-probabilities of responses: a row for every position whose next token is in a response, which includes the
 * prompt's last position.
 *
 * @param trees prompts of at least one token, each with at least one response of at least one token
 * @throws RangeError that names the tree
 */
export function packResponses(trees: readonly Tree[]): PackedBatch {
  return pack(trees, 'targets');
}

/**
 * For values: the rows of {@link packResponses}, the state before each response token, without targets.
 *
 * @throws RangeError that names the tree
 */
export function packValues(trees: readonly Tree[]): PackedBatch {
  return pack(trees, 'values');
}

/**
 * For scores: one row per response, at its last token, and one group per tree. Prompts may be empty.
 *
 * @throws RangeError that names the tree
 */
export function packScores(trees: readonly Tree[]): ScoreBatch {
  const batch = pack(trees, 'ends');
  const cuGroups = new Int32Array(trees.length + 1);
  trees.forEach(({ responses }, i) => {
    cuGroups[i + 1] = cuGroups[i]! + responses.length;
  });
  return { ...batch, cuGroups };
}

/**
 * The batch with the rows that stand at the end of a segment moved before its padding: transformers reads the score of a sequence at
 * its last token that is not the padding token, which may also be the end of the text.
 */
export function beforePadding<Batch extends PackedBatch>(batch: Batch, pad: number | undefined): Batch {
  const { tokens, cuSeqlens, parent, rows } = batch;
  if (pad === undefined || !rows.some((row) => tokens[row] === pad)) return batch;
  const ends = new Map(Array.from(parent, (_, s) => [cuSeqlens[s + 1]! - 1, s])); // segments by their last token
  const last = (segment: number): number => {
    for (let at = cuSeqlens[segment + 1]! - 1; at >= cuSeqlens[segment]!; at--) if (tokens[at] !== pad) return at;
    return parent[segment]! < 0 ? cuSeqlens[segment]! : last(parent[segment]!);
  };
  return { ...batch, rows: rows.map((row) => (ends.has(row) ? last(ends.get(row)!) : row)) };
}

/**
 * For pretraining: every token but the first of each document is predicted.
 *
 * @param documents each of at least one token
 * @throws RangeError that names the document
 */
export function packDocuments(documents: readonly ArrayLike<number>[]): PackedBatch {
  const N = documents.reduce((n, d) => n + d.length, 0);
  const R = N - documents.length;
  const batch = {
    tokens: new Int32Array(N),
    cuSeqlens: new Int32Array(documents.length + 1),
    parent: new Int32Array(documents.length).fill(-1),
    rows: new Int32Array(Math.max(R, 0)),
    targets: new Int32Array(Math.max(R, 0)),
    cuRows: new Int32Array(documents.length + 1),
  };
  let n = 0;
  let r = 0;
  documents.forEach((document, d) => {
    if (document.length === 0) throw new RangeError(`document ${d} is empty, expected at least one token`);
    copyTokens(batch.tokens, n, document, () => `document ${d}`);
    for (let t = 1; t < document.length; t++) {
      batch.rows[r] = n + t - 1;
      batch.targets[r++] = batch.tokens[n + t]!;
    }
    n += document.length;
    batch.cuSeqlens[d + 1] = n;
    batch.cuRows[d + 1] = r;
  });
  return batch;
}

function pack(trees: readonly Tree[], kind: Rows): PackedBatch {
  const sizes = measure(trees, kind);
  const tokens = new Int32Array(sizes.tokens);
  const cuSeqlens = new Int32Array(sizes.segments + 1);
  const parent = new Int32Array(sizes.segments).fill(-1);
  const rows = new Int32Array(sizes.rows);
  const targets = new Int32Array(kind === 'targets' ? sizes.rows : 0);
  const cuRows = new Int32Array(sizes.responses + 1);
  let n = 0; // tokens so far
  let s = 0; // segments
  let r = 0; // rows
  let k = 0; // responses

  trees.forEach(({ prompt, responses }, t) => {
    copyTokens(tokens, n, prompt, () => `tree ${t}: the prompt`);
    n += prompt.length;
    const last = n - 1; // the prompt's last position predicts the first token of every response
    // A single response continues the prompt's own segment: bit-identical, with one segment less.
    const shared = responses.length > 1 && prompt.length > 0;
    const root = s;
    if (shared) cuSeqlens[++s] = n;
    responses.forEach((response, i) => {
      copyTokens(tokens, n, response, () => `tree ${t}: response ${i}`);
      if (kind === 'ends') {
        rows[r++] = n + response.length - 1;
      } else {
        for (let j = 0; j < response.length; j++) {
          rows[r] = j === 0 ? last : n + j - 1;
          if (kind === 'targets') targets[r] = tokens[n + j]!;
          r++;
        }
      }
      n += response.length;
      if (shared) parent[s] = root;
      cuSeqlens[++s] = n;
      cuRows[++k] = r;
    });
  });
  return { tokens, cuSeqlens, parent, rows, targets, cuRows };
}

function measure(trees: readonly Tree[], kind: Rows) {
  const sizes = { tokens: 0, segments: 0, rows: 0, responses: 0 };
  trees.forEach(({ prompt, responses }, t) => {
    if (responses.length === 0) throw new RangeError(`tree ${t} has no responses, expected at least one`);
    if (prompt.length === 0 && kind !== 'ends') {
      throw new RangeError(
        `tree ${t}: the prompt is empty, expected at least one token to predict the first token of its responses`,
      );
    }
    sizes.tokens += prompt.length;
    if (responses.length > 1 && prompt.length > 0) sizes.segments++;
    responses.forEach((response, i) => {
      if (response.length === 0) throw new RangeError(`tree ${t}: response ${i} is empty, expected at least one token`);
      sizes.tokens += response.length;
      sizes.segments++;
      sizes.rows += kind === 'ends' ? 1 : response.length;
      sizes.responses++;
    });
  });
  return sizes;
}

// Refuses ids that an Int32Array would silently change. The model checks that they are in the vocabulary.
function copyTokens(tokens: Int32Array, at: number, ids: ArrayLike<number>, where: () => string): void {
  tokens.set(ids, at);
  if (ids instanceof Int32Array) return;
  for (let i = 0; i < ids.length; i++) {
    if (tokens[at + i] !== ids[i])
      throw new RangeError(`${where()}: token ${i} is ${ids[i]}, expected a 32-bit integer`);
  }
}
