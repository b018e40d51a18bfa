/** Perplexity on held-out text: what alignment costs in the first place. */
import { basename } from 'node:path';
import { DataError } from '../core/errors.js';
import { Frame } from '../data/index.js';
import { streamTexts } from '../data/texts.js';
import { packDocuments } from '../runtime/batch.js';
import { bootstrapRatio, type Estimate } from '../statistics/index.js';
import type { Figure } from './figure.js';
import { type Measured, windowsOf } from './likelihood.js';

/**
 * Perplexity per token and bits per byte of documents: `{text}` rows, or a text file. Every token is predicted once, the first after the
 * end of another text, the others from at most the model's positions. Perplexities of models with different tokenizers do not compare;
 * bits per byte do. Intervals are over documents, or over windows of the model's positions if there is only one document.
 */
export async function perplexityFigures(model: string, file: string, o: Measured): Promise<Figure[]> {
  const frame = new Frame(o.tokenizer);
  const documents: { windows: Int32Array[]; bytes: number }[] = [];
  for await (const part of streamTexts(file, { signal: o.signal })) {
    if (part.text === '') continue;
    const ids = await frame.partIds(part, { signal: o.signal });
    const windows = windowsOf(ids, o.tokenizer, o.model.config.maxPositions);
    const bytes = Buffer.byteLength(part.text);
    if (part.isFirst || documents.length === 0) documents.push({ windows, bytes });
    else {
      documents.at(-1)!.windows.push(...windows);
      documents.at(-1)!.bytes += bytes;
    }
  }
  if (documents.length === 0) throw new DataError('has no text, expected at least one word', { file });
  const rows: { document: number; nats: number; tokens: number }[] = [];
  const all = documents.flatMap(({ windows }, document) => windows.map((ids) => ({ ids, document })));
  for (let begin = 0; begin < all.length; begin += 64) {
    const some = all.slice(begin, begin + 64);
    const batch = packDocuments(some.map(({ ids }) => ids));
    const { logprobs } = await o.model.logprobs(batch, { signal: o.signal });
    some.forEach(({ document }, i) => {
      const slice = logprobs.subarray(batch.cuRows[i], batch.cuRows[i + 1]);
      rows.push({ document, nats: -slice.reduce((sum, x) => sum + x, 0), tokens: slice.length });
    });
    o.onProgress?.(Math.min(all.length, begin + 64));
  }
  const isOne = documents.length === 1;
  const keys = rows.map(({ document }, i) => (isOne ? i : document));
  const sum = (of: (row: (typeof rows)[number]) => number) => {
    const totals = new Float64Array(Math.max(...keys) + 1);
    rows.forEach((row, i) => {
      totals[keys[i]!]! += of(row);
    });
    return totals;
  };
  const nats = sum((row) => row.nats);
  const tokens = sum((row) => row.tokens);
  // The bytes of a window are not known: one document's are spread by tokens, which leaves their sum exact.
  const bytesPerToken = documents.map((one) => one.bytes / one.windows.reduce((n, ids) => n + ids.length - 1, 0));
  const bytes = sum((row) => row.tokens * bytesPerToken[row.document]!);
  const count = nats.length;
  const through = (estimate: Estimate, f: (x: number) => number) => ({
    value: f(estimate.value),
    low: f(estimate.low),
    high: f(estimate.high),
    count,
  });
  const base = { model, data: basename(file), unit: 'number', of: isOne ? 'windows' : 'documents' } as const;
  const sizes = `${tokens.reduce((a, b) => a + b, 0)} tokens`;
  return [
    { ...base, name: 'perplexity', note: sizes, ...through(bootstrapRatio(nats, tokens)!, Math.exp) },
    { ...base, name: 'bits per byte', ...through(bootstrapRatio(nats, bytes)!, (x) => x / Math.LN2) },
  ];
}
