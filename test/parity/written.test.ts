// transformers loads the models that heed writes, and computes the same.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { packResponses, packScores } from '../../lib/runtime/batch.js';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel, ScalarModel } from '../../lib/runtime/model.js';
import { FIXTURES, LANGUAGE_MODELS, relativeError, SCALAR_MODELS, sequences } from './fixture.js';
import { runPython, testWithPython } from './python.js';

interface Loaded {
  class: string;
  results: number[];
  pad: number | null;
  end: number | null;
  heed: { score_offset: number } | null;
}

// Two float32 computations of the same network, each with an error of about 4e-7.
const TOLERANCE = 3e-6;

testWithPython('transformers loads what heed writes and gives the same logits and scores', async () => {
  const { trees, end } = sequences();
  const folder = mkdtempSync(join(tmpdir(), 'heed-written-'));
  const engine = await Engine.create({ threads: 2 });
  const written: { dir: string; kind: string; results: Float32Array }[] = [];
  try {
    for (const name of LANGUAGE_MODELS) {
      const model = await LanguageModel.load(engine, join(FIXTURES, name));
      const trainer = await model.trainer({ weightDecay: 0.1 });
      const batch = packResponses(trees);
      await trainer.sft(batch, { scale: 1 / batch.rows.length });
      await trainer.step({ learningRate: 0.01 });
      // A family decides about names and keys, not about number formats.
      const dtypes = /^(gpt2|llama)/.test(name) ? (['f32', 'bf16', 'f16'] as const) : (['f32'] as const);
      for (const dtype of dtypes) {
        const dir = join(folder, `${name}-${dtype}`);
        await model.save(dir, { dtype });
        const saved = await LanguageModel.load(engine, dir);
        written.push({ dir, kind: 'ForCausalLM', results: await saved.logits(batch) });
        await saved.dispose();
      }
      // The file has the present model, not the one that was loaded.
      const before = await LanguageModel.load(engine, join(FIXTURES, name));
      expect(relativeError(await before.logits(batch), await model.logits(batch))).toBeGreaterThan(1e-2);
      expect(relativeError(written.at(-dtypes.length)!.results, await model.logits(batch))).toBe(0);
    }
    for (const name of SCALAR_MODELS) {
      const model = await ScalarModel.load(engine, join(FIXTURES, name));
      await model.shiftScores(0.75);
      const dir = join(folder, name);
      await model.save(dir);
      written.push({ dir, kind: 'ForSequenceClassification', results: await model.scores(packScores(trees)) });
      const trunk = await LanguageModel.load(engine, join(FIXTURES, 'gpt2'));
      const fresh = join(folder, `fresh-${name}`);
      const head = await ScalarModel.from(trunk, { seed: 3 });
      await head.save(fresh);
      written.push({ dir: fresh, kind: 'ForSequenceClassification', results: await head.scores(packScores(trees)) });
    }

    const output = runPython(join(import.meta.dirname, 'load.py'), [
      join(FIXTURES, 'sequences.json'),
      ...written.map(({ dir }) => dir),
    ]);
    const loaded = JSON.parse(output) as Loaded[];
    loaded.forEach((theirs, i) => {
      const { dir, kind, results } = written[i]!;
      expect([dir, theirs.class]).toEqual([
        dir,
        expect.stringMatching(`${kind === 'ForCausalLM' ? '(LMHeadModel|ForCausalLM)' : kind}$`),
      ]);
      expect(theirs.end).toBe(end);
      expect(theirs.pad).not.toBeNull();
      expect(theirs.pad).not.toBe(end); // otherwise transformers would read the score at the token before the end
      const offset = theirs.heed?.score_offset ?? 0; // Llama has no bias for it
      const shifted = theirs.results.map((value) => value + offset);
      expect({ dir, error: Math.max(0, relativeError(results, shifted) - TOLERANCE) }).toEqual({ dir, error: 0 });
    });
    const withoutBias = SCALAR_MODELS.filter((name) => !/^(gpt|opt)/.test(name)); // RMSNorms
    expect(loaded.filter(({ heed }) => heed !== null && heed.score_offset !== 0)).toHaveLength(withoutBias.length);
  } finally {
    engine.dispose();
    rmSync(folder, { recursive: true });
  }
});
