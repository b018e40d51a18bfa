import { scoreFields, type Values } from '../config/index.js';
import { packSequences } from '../data/index.js';
import { readScorable, type Scorable } from '../data/score.js';
import { type PackedBatch, packResponses, packScores, type Tree } from '../runtime/batch.js';
import { Engine } from '../runtime/engine.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { type Command, type Context, machineOf } from './command.js';
import { Loader } from './load.js';
import { readModelFolder, templateFor } from './models.js';
import { float32Json, RowWriter } from './output.js';

export const score: Command<typeof scoreFields> = {
  name: 'score',
  summary: 'log-probabilities of responses, or their scores',
  about: `Writes one row per input row, in order. A language model gives {logprobs} in nats, one per token of the response including its
end-of-text token (one list per response if there are several). A reward model gives {score}, or {scores} for several responses.
Rows written by heed generate are scored by their tokens, unchanged.`,
  fields: scoreFields,
  required: ['model', 'data'],
  examples: [
    [
      'log-probabilities of the responses in a file',
      'heed score --model runs/sft/model --data demos.jsonl --out logprobs.jsonl',
    ],
    [
      'rewards of the responses of another model',
      'heed generate --model runs/ppo/model --prompts prompts.jsonl --out answers.jsonl\n  heed score --model runs/reward/model --data answers.jsonl',
    ],
  ],
  trains: false,
  run,
};

async function run(values: Values<typeof scoreFields>, { signal, log }: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, undefined, values.adapter);
  const rows = await readScorable(values.data!, {
    tokenizer: folder.tokenizer,
    template: await templateFor(values.template, folder.tokenizer),
    vocabSize: folder.config.vocabSize,
    maxPositions: folder.config.maxPositions,
    signal,
  });
  const maxTokens = rows.reduce((most, row) => Math.max(most, tokensOf(row)), values.maxTokens);
  const writer = await RowWriter.open(values.out);
  let engine: Engine | undefined;
  try {
    engine = await Engine.create({ ...machineOf(values), maxTokens, signal });
    const loader = new Loader(engine, signal, values.int8);
    const where = folder.adapter?.dir ?? folder.dir;
    const scoreRows =
      folder.kind === 'language'
        ? logprobsOf(await loader.language(folder), where, signal)
        : scoresOf(await loader.scalar(folder, 0, undefined, true), where, signal);
    const stage = log.stage('score', rows.length, 'rows');
    let done = 0;
    for (const some of chunks(rows, 4 * maxTokens)) {
      for (const row of await scoreRows(some)) await writer.write(row);
      done += some.length;
      stage.update(done);
    }
    stage.end();
    await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  } finally {
    await engine?.dispose();
  }
}

function logprobsOf(model: LanguageModel, where: string, signal: AbortSignal) {
  const slices = async (batch: PackedBatch) => {
    const { logprobs } = await model.logprobs(batch, { signal });
    return Array.from({ length: batch.cuRows.length - 1 }, (_, i) =>
      float32Json(logprobs.subarray(batch.cuRows[i], batch.cuRows[i + 1]), where),
    );
  };
  return async (rows: readonly Scorable[]): Promise<object[]> => {
    const trees = rows.flatMap((row) => (row.tree ? [row.tree] : []));
    const sequences = rows.flatMap((row) => (row.sequence ? [row.sequence] : []));
    const ofTrees = trees.length > 0 ? await slices(packResponses(trees)) : [];
    const ofSequences = sequences.length > 0 ? await slices(packSequences(sequences)) : [];
    return rows.map((row) => {
      if (row.sequence) return { logprobs: ofSequences.shift()! };
      const found = ofTrees.splice(0, row.tree.responses.length);
      return { logprobs: row.several ? found : found[0]! };
    });
  };
}

function scoresOf(model: ScalarModel, where: string, signal: AbortSignal) {
  return async (rows: readonly Scorable[]): Promise<object[]> => {
    const whole = ({ tokens, spans }: NonNullable<Scorable['sequence']>): Tree => ({
      prompt: [],
      responses: [tokens.subarray(0, spans.at(-1))],
    });
    const batch = packScores(rows.map((row) => row.tree ?? whole(row.sequence)));
    const scores = float32Json(await model.scores(batch, { signal }), where);
    return rows.map((row, g) => {
      const found = scores.slice(batch.cuGroups[g], batch.cuGroups[g + 1]);
      return row.several ? { scores: found } : { score: found[0]! };
    });
  };
}

function tokensOf({ tree, sequence }: Scorable): number {
  return sequence ? sequence.tokens.length : tree.prompt.length + tree.responses.reduce((n, ids) => n + ids.length, 0);
}

function* chunks(rows: readonly Scorable[], tokens: number): Generator<Scorable[]> {
  let some: Scorable[] = [];
  let filled = 0;
  for (const row of rows) {
    if (some.length > 0 && filled + tokensOf(row) > tokens) {
      yield some;
      some = [];
      filled = 0;
    }
    some.push(row);
    filled += tokensOf(row);
  }
  if (some.length > 0) yield some;
}
