/**
 * The base model of the embedded world: a small Llama pretrained on its prose. It must pass the world's probes: repeat a five-word
 * sequence and find a name's place, each in nine cases of ten.
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeedError } from '../core/errors.js';
import { makeFolder } from '../core/files.js';
import { document, type TrainSequence } from '../data/index.js';
import { modelConfig } from '../huggingface/config.js';
import { trainPretrain } from '../phases/pretrain.js';
import { RunFolder } from '../runs/runfolder.js';
import type { Engine } from '../runtime/engine.js';
import { LanguageModel } from '../runtime/model.js';
import { countWords, toTokenizerJson, trainBpe } from '../tokenizer/bpe.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import {
  type Absence,
  pretrainDocuments,
  probes,
  REQUIRED_PROBES,
  REQUIRED_RATE,
  tokenizerText,
} from '../world/index.js';
import type { AlignLog } from './log.js';

/** Settings of {@link trainBase}. */
export interface BaseOptions {
  /** Run folder; the base is saved in RUN/model. */
  readonly out: string;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Fraction of the training tokens, for a trial run. Default 1. */
  readonly scale?: number | undefined;
  readonly resume?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly log: AlignLog;
}

const kVocabSize = 1536;
/** Per step: more, smaller steps learn more from the same number of tokens. */
const kBatchTokens = 1536;

/**
 * Two rounds of prose, of which the first rarely asks about somebody the passage does not mention. A base that is often asked so from
 * the start answers "the text does not say" for everybody and learns to look names up late or never; once it can, it learns when to
 * say so.
 */
const STAGES = [
  { tokens: 24_000_000, learningRate: 3e-3, absence: 'rare' },
  { tokens: 12_000_000, learningRate: 1e-3, absence: 'often' },
] as const;

/** A million parameters: four layers of 128 channels, rotary positions. */
export const BASE_CONFIG = modelConfig('llama', {
  numLayers: 4,
  numHeads: 4,
  channels: 128,
  vocabSize: kVocabSize,
  maxPositions: 256,
});

/** Documents of the world's prose as ids, each followed by end-of-text. */
export async function proseSequences(tokenizer: Tokenizer, texts: Iterable<string>): Promise<TrainSequence[]> {
  const encoded = await tokenizer.encodeBatch([...texts]);
  return encoded.map((ids) => document(Int32Array.of(...ids, tokenizer.endOfText)));
}

/** Trains the base and its tokenizer; `OUT/model` is a model folder. @throws HeedError if a required probe fails */
export async function trainBase(engine: Engine, o: BaseOptions): Promise<void> {
  const { out, seed = 0, scale = 1, log } = o;
  const tokenizerDir = join(out, 'tokenizer');
  const counts = new Map<string, number>();
  for (const text of tokenizerText({ seed, count: 20_000 })) countWords(text, counts);
  const json = toTokenizerJson(trainBpe(counts, { vocabSize: kVocabSize }));
  await makeFolder(tokenizerDir);
  await writeFile(join(tokenizerDir, 'tokenizer.json'), JSON.stringify(json));
  const tokenizer = await Tokenizer.load(tokenizerDir);

  const specialTokens = { eos: tokenizer.endOfText, pad: tokenizer.pad };
  let model = await LanguageModel.init(engine, BASE_CONFIG, { seed, specialTokens });
  let rates = new Map<string, number>();
  let tokens = 0;
  let from: string | undefined;
  for (const [i, stage] of STAGES.entries()) {
    if (from !== undefined) {
      await model.dispose();
      model = await LanguageModel.load(engine, from);
    }
    from = join(out, i + 1 < STAGES.length ? `stage-${i + 1}` : 'model');
    tokens += await train(o, model, tokenizer, { ...stage, tokens: scale * stage.tokens, name: `pretrain-${i + 1}` });
    rates = await probeRates(model, tokenizer, o.signal);
    log.line(`probes: ${showRates(rates)}`);
    await rm(join(from, 'base.json'), { force: true }); // left by an earlier run
    await model.save(from, { dtype: 'bf16', tokenizerFrom: tokenizerDir });
  }
  await model.dispose();
  const made = { seed, tokens, probes: Object.fromEntries(rates) };
  await writeFile(join(out, 'model', 'base.json'), `${JSON.stringify(made, null, 2)}\n`);
  const failed = REQUIRED_PROBES.filter((kind) => (rates.get(kind) ?? 0) < REQUIRED_RATE);
  if (failed.length > 0) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the base's success rate is below ${REQUIRED_RATE} in the probe ${failed.join(' and ')}: train it on more than ${tokens} tokens`,
    );
  }
}

interface Stage {
  readonly name: string;
  readonly tokens: number;
  readonly learningRate: number;
  readonly absence: Absence;
}

/** Trains on one newly written round of prose; returns the number of tokens. */
async function train(o: BaseOptions, model: LanguageModel, tokenizer: Tokenizer, stage: Stage): Promise<number> {
  const { out, seed = 0, log, signal } = o;
  const { name, learningRate, absence } = stage;
  log.line('writing prose');
  const documents: TrainSequence[] = [];
  let written = 0;
  for (const text of pretrainDocuments({ seed: absence === 'rare' ? seed : `${seed}/${absence}`, absence })) {
    documents.push(...(await proseSequences(tokenizer, [text])));
    written += documents.at(-1)!.tokens.length;
    if (written >= stage.tokens) break;
  }
  const held = pretrainDocuments({ seed: `${seed}/validation`, absence, count: 300 });
  const run = await RunFolder.open(join(out, name), { resume: o.resume, tokenizerFrom: join(out, 'tokenizer') });
  try {
    const bar = log.stage(name, Math.ceil(written / kBatchTokens));
    const phase = trainPretrain({
      model,
      documents,
      validation: await proseSequences(tokenizer, held),
      batchTokens: kBatchTokens,
      learningRate,
      weightDecay: 0.01, // copying heads need large attention weights
      validateEvery: 1000,
      keepBest: false,
      run,
      seed,
      saveEvery: 1000,
      signal,
    });
    for await (const { step, loss, tokensComputed, seconds, validationLoss } of phase) {
      bar.update(step, `loss ${loss.toFixed(3)}, ${Math.round(tokensComputed / seconds)} tokens/s`);
      if (validationLoss !== undefined) {
        const rates = await probeRates(model, tokenizer, signal);
        log.line(`step ${step}: loss on held-out prose ${validationLoss.toFixed(4)}; probes ${showRates(rates)}`);
      }
    }
    bar.end();
  } finally {
    await run.close();
  }
  return written;
}

/** Fraction of each kind of probe that the model continues correctly, decoding greedily. */
export async function probeRates(
  model: LanguageModel,
  tokenizer: Tokenizer,
  signal?: AbortSignal,
): Promise<Map<string, number>> {
  const all = probes({ seed: 'check', perKind: 100 });
  const answers = await tokenizer.encodeBatch(all.map(({ answer }) => answer));
  const prompts = await tokenizer.encodeBatch(all.map(({ prompt }) => prompt));
  const completions = await model.generate(
    prompts.map((prompt, i) => ({ prompt, seed: i, maxNewTokens: answers[i]!.length })),
    { maxNewTokens: 32, temperature: 0, stopTokens: [tokenizer.endOfText], signal },
  );
  const tally = new Map<string, { right: number; count: number }>();
  completions.forEach(({ request, tokens }) => {
    const { kind } = all[request]!;
    const entry = tally.get(kind) ?? { right: 0, count: 0 };
    entry.count++;
    if (tokens.length === answers[request]!.length && tokens.every((id, i) => id === answers[request]![i]))
      entry.right++;
    tally.set(kind, entry);
  });
  return new Map([...tally].map(([kind, { right, count }]) => [kind, right / count]));
}

const showRates = (rates: Map<string, number>) =>
  [...rates].map(([kind, rate]) => `${kind} ${rate.toFixed(2)}`).join(', ');
