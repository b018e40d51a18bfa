/** What weights of 8 bits change: the divergence of a model's next-token distributions from those of its weights as they are. */
import { packSequences } from '../data/index.js';
import { readScorable, type Scorable } from '../data/score.js';
import { packResponses } from '../runtime/batch.js';
import { Engine } from '../runtime/engine.js';
import { Loader } from './load.js';
import type { ModelFolder } from './models.js';

/** Logits that are held, of the weights as they are. */
const kLogits = 1 << 24;

export interface Divergence {
  /** Tokens whose distributions were compared: the first rows' responses. */
  readonly tokens: number;
  /** KL divergence, nats: mean over the tokens, and the largest. */
  readonly kl: number;
  readonly klMax: number;
}

/** @throws DataError naming a row that cannot be scored */
export async function int8Divergence(
  folder: ModelFolder,
  files: readonly string[],
  signal: AbortSignal,
): Promise<Divergence> {
  const { vocabSize, maxPositions } = folder.config;
  const rows = await readScorable(files, { tokenizer: folder.tokenizer, vocabSize, maxPositions, signal });
  const batches = batchesOf(rows, vocabSize);
  const maxTokens = Math.max(...batches.map(({ tokens }) => tokens.length));
  const logitsOf = async (int8: boolean) => {
    const engine = await Engine.create({ maxTokens, signal });
    try {
      const model = await new Loader(engine, signal, int8).language(folder);
      const found: Float32Array[] = [];
      for (const batch of batches) found.push(await model.logits(batch, { signal }));
      return found;
    } finally {
      await engine.dispose();
    }
  };
  const whole = await logitsOf(false);
  const rounded = await logitsOf(true);
  const all = whole.flatMap((logits, i) => divergences(logits, rounded[i]!, vocabSize));
  return {
    tokens: all.length,
    kl: all.reduce((sum, x) => sum + x, 0) / all.length,
    klMax: all.reduce((most, x) => Math.max(most, x), 0),
  };
}

/** One for each row, as many as may be held. */
function batchesOf(rows: readonly Scorable[], vocabSize: number) {
  const batches = [];
  let held = 0;
  for (const { tree, sequence } of rows) {
    const batch = tree ? packResponses([tree]) : packSequences([sequence!]);
    held += batch.rows.length * vocabSize;
    if (batches.length > 0 && held > kLogits) break;
    batches.push(batch);
  }
  return batches;
}

/** KL(p‖q) of each row of logits, in double precision. */
export function divergences(p: Float32Array, q: Float32Array, vocabSize: number): number[] {
  return Array.from({ length: p.length / vocabSize }, (_, row) => {
    const [a, b] = [p, q].map((all) => all.subarray(row * vocabSize, (row + 1) * vocabSize)) as [
      Float32Array,
      Float32Array,
    ];
    const [logA, logB] = [logSum(a), logSum(b)];
    let kl = 0;
    for (let v = 0; v < vocabSize; v++) {
      const logP = a[v]! - logA;
      kl += Math.exp(logP) * (logP - (b[v]! - logB));
    }
    return Math.max(kl, 0); // rounding
  });
}

function logSum(x: Float32Array): number {
  const most = x.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(x.reduce((sum, value) => sum + Math.exp(value - most), 0));
}
