import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { flag, list, ppoOptions, text, type Values } from '../config/index.js';
import { DataError, HeedError } from '../core/errors.js';
import { readJsonFile } from '../core/json.js';
import { native } from '../core/native.js';
import { ChatTemplate } from '../data/index.js';
import { problemsOfConfig } from '../huggingface/config.js';
import { families } from '../huggingface/families/index.js';
import { ignoredNotice, readConfig } from '../huggingface/folder.js';
import { endsOf, type ModelConfig, type ModelKind, type SpecialTokens } from '../huggingface/modelconfig.js';
import { problemsOfParameters, readWeights, type Weights } from '../huggingface/weights.js';
import type { LoraOptions } from '../runtime/adapter.js';
import { Engine } from '../runtime/engine.js';
import { inKeys, nativeConfig } from '../runtime/nativeconfig.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Command, Context } from './command.js';
import { type Divergence, int8Divergence } from './divergence.js';
import { inferenceWork, type PlannedWork, ppoWork, rewardWork, supervisedWork } from './memory.js';
import { readModelFolder } from './models.js';
import { writeOut } from './output.js';
import { thousands } from './training.js';

const fields = {
  model: text('model folder', 'DIR'),
  data: list('rows to score, by whose tokens the effect of weights of 8 bits (--int8) is measured'),
  json: flag('print JSON'),
};

export const info: Command<typeof fields> = {
  name: 'info',
  summary: 'say what a model folder is, what memory it takes, and what is wrong with it',
  about: `Says the family, the sizes, the features, the files, the tokenizer and the special tokens of a folder, the memory to run and to train
it, and all that heed would refuse. Weights are read only with --data.`,
  fields,
  required: ['model'],
  positional: 'model',
  examples: [
    ['before a download is used', 'heed info Qwen3-0.6B'],
    ['what weights of 8 bits would change', 'heed info Qwen3-0.6B --data demos.jsonl'],
    ['for a program', 'heed info Qwen3-0.6B --json'],
  ],
  trains: false,
  run,
};

/** Token of a pass, and of a sequence, for which memory is given. */
const kPass = 4096;
const kLength = 1024;
/** Of the adapters for which memory is given. */
const kRank = 16;
/** Tensors with something wrong that are named. */
const kNamed = 10;

async function run({ model, data, json }: Values<typeof fields>, { signal }: Context): Promise<void> {
  const found = await inspect(model!, data, signal);
  await writeOut(json ? `${JSON.stringify(found, null, 2)}\n` : table(found));
  const { length } = found.problems;
  if (length > 0)
    throw new HeedError('ERR_INVALID_ARGUMENT', `${model} would be refused: ${length} problem${length > 1 ? 's' : ''}`);
}

interface Token {
  readonly id: number;
  /** null: the tokenizer has no such id. */
  readonly token: string | null;
}

interface Info {
  readonly folder: string;
  readonly model: ModelInfo | null;
  readonly files: { readonly count: number; readonly bytes: number; readonly dtypes: readonly string[] } | null;
  readonly tokenizer: { readonly tokens: number; readonly chatTemplate: boolean } | null;
  readonly specialTokens: Readonly<Record<'bos' | 'pad', Token | null>> & { readonly end: readonly Token[] };
  /** Bytes by number format; null if it could not be planned. */
  readonly memory: Readonly<Record<'f32' | 'bf16', Memory>> | null;
  /** What weights of 8 bits change, if data was given. */
  readonly int8?: Divergence;
  readonly notices: readonly string[];
  readonly problems: readonly string[];
}

interface ModelInfo {
  readonly family: string;
  readonly class: string;
  readonly head: ModelKind;
  readonly parameters: { readonly total: number; readonly embedding: number };
  readonly config: ModelConfig;
}

/** To train any model: reward modelling; a language model: also fine-tuning, and PPO with a reward model of its size. */
interface TrainingMemory {
  readonly sft?: number;
  readonly reward?: number;
  readonly ppo?: number;
}
interface Memory extends TrainingMemory {
  readonly run: number;
  /** Of adapters of rank 16 to one frozen copy. Only for a language model. */
  readonly lora?: TrainingMemory;
  /** The same with the frozen copy in 8 bits. */
  readonly loraInt8?: TrainingMemory;
}

async function inspect(dir: string, data: readonly string[] | undefined, signal: AbortSignal): Promise<Info> {
  const problems: string[] = [];
  /** The result of `work`, undefined after an error, which is a problem. */
  const attempt = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof HeedError)) throw error;
      problems.push(error.message);
      return undefined;
    }
  };
  const file = join(dir, 'config.json');
  if (!existsSync(file)) throw new DataError('does not exist, expected a Hugging Face model folder with one', { file });
  const { read, problems: ofConfig } = problemsOfConfig(await readJsonFile(file), file);
  problems.push(...ofConfig.map(({ message }) => message));
  // The end tokens of generation_config.json too, unless config.json cannot be read.
  const whole = read && ofConfig.length === 0 ? ((await attempt(() => readConfig(dir))) ?? read) : read;

  const list = read && (await attempt(() => parametersOf(read.config, read.kind, file)));
  const weights = await attempt(() => readWeights(dir));
  if (read && list && weights) {
    const wrong = problemsOfParameters(weights, list, families[read.config.family], read.config.tiedHead);
    problems.push(...wrong.slice(0, kNamed).map((problem) => `${weights.file}: ${problem}`));
    if (wrong.length > kNamed) problems.push(`${weights.file}: the same with ${wrong.length - kNamed} more tensors`);
  }
  const tokenizer = await attempt(() => Tokenizer.load(dir));
  if (tokenizer && read) await attempt(() => tokenizer.requireFits(read.config.vocabSize, dir));
  const hasTemplate = tokenizer?.chatTemplate !== undefined;
  if (tokenizer && hasTemplate) await attempt(() => ChatTemplate.load('tokenizer', tokenizer));

  const isUsable = whole !== undefined && list !== undefined;
  const measured =
    data && problems.length === 0
      ? await int8Divergence(await readModelFolder(dir, 'language'), data, signal)
      : undefined;
  return {
    folder: dir,
    model: isUsable ? describeModel(whole.config, whole.kind, list) : null,
    files: weights ? describeFiles(weights) : null,
    tokenizer: tokenizer ? { tokens: tokenizer.vocabSize, chatTemplate: hasTemplate } : null,
    specialTokens: describeTokens(whole?.specialTokens ?? {}, tokenizer),
    memory: isUsable ? await memoryOf(whole.config, whole.kind, signal) : null,
    ...(measured ? { int8: measured } : {}),
    notices: [...(whole ? [...whole.notices, ...ignoredNotice(whole.ignored, file)] : []), ...(weights?.notices ?? [])],
    problems,
  };
}

type Parameters = readonly { readonly name: string; readonly shape: readonly number[] }[];

function parametersOf(config: ModelConfig, kind: ModelKind, file: string): Parameters {
  try {
    return native().parameters(nativeConfig(config, kind));
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ERR_INVALID_ARGUMENT') throw cause;
    throw new DataError(inKeys((cause as Error).message, config), { file }, { cause });
  }
}

function describeModel(config: ModelConfig, kind: ModelKind, list: Parameters): ModelInfo {
  const { classes, names } = families[config.family];
  const count = (some: Parameters) => some.reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);
  const isEmbedding = ({ name }: { readonly name: string }) =>
    [names.embedding, names.positions, names.languageHead].some((one) => name === `${one}.weight`);
  return {
    family: config.family,
    class: classes[kind],
    head: kind,
    parameters: { total: count(list), embedding: count(list.filter(isEmbedding)) },
    config,
  };
}

function describeFiles({ tensors }: Weights): Info['files'] {
  const all = [...tensors.values()];
  return {
    count: new Set(all.map(({ path }) => path)).size,
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    dtypes: [...new Set(all.map(({ dtype }) => dtype))].sort(),
  };
}

function describeTokens(tokens: SpecialTokens, tokenizer: Tokenizer | undefined): Info['specialTokens'] {
  const named = (id: number): Token => ({ id, token: tokenizer?.idToToken(id) ?? null });
  const one = (id: number | undefined) => (id === undefined ? null : named(id));
  const own = tokenizer ? [tokenizer.endOfText] : [];
  return {
    bos: one(tokens.bos ?? tokenizer?.bos),
    pad: one(tokens.pad ?? tokenizer?.pad),
    end: [...new Set([...own, ...endsOf(tokens)])].map(named),
  };
}

async function memoryOf(config: ModelConfig, kind: ModelKind, signal: AbortSignal): Promise<Info['memory']> {
  const maxLength = Math.min(config.maxPositions, kLength);
  const stepTokens = kPass;
  const sampled = Math.min(ppoOptions.maxNewTokens.default, Math.floor(maxLength / 2));
  const sampling = { promptLength: maxLength - sampled, maxNewTokens: sampled, count: ppoOptions.slots.default };
  const common = { stepTokens, maxLength };
  const reward = rewardWork({ config, ...common });
  const languageWork = (lora: LoraOptions | undefined, int8 = false): Readonly<Record<string, PlannedWork>> => ({
    sft: supervisedWork({ config, lora, int8, dropout: 0, ...common, keepsBest: false }),
    reward: rewardWork({ config, lora, int8, ...common }),
    ppo: ppoWork({
      config,
      lora,
      int8,
      isNew: true,
      reward: { config, lora, sharesBase: lora !== undefined },
      minibatchTokens: stepTokens,
      maxLength,
      sampling,
      ema: false,
    }),
  });
  const plan = async (dtype: 'f32' | 'bf16', work: PlannedWork) => {
    const usage = await Engine.plan({ dtype, maxTokens: kPass, signal }, work);
    return usage.parameterBytes + usage.packedBytes + usage.optimizerBytes + usage.arenaBytes + usage.cacheBytes;
  };
  const planAll = async (
    dtype: 'f32' | 'bf16',
    works: Readonly<Record<string, PlannedWork>>,
  ): Promise<TrainingMemory> => {
    const result: Record<string, number> = {};
    for (const [name, work] of Object.entries(works)) result[name] = await plan(dtype, work);
    return result;
  };
  const all = async (dtype: 'f32' | 'bf16'): Promise<Memory> => {
    const run = await plan(dtype, inferenceWork(config, kind, maxLength));
    if (kind === 'scalar') return { run, ...(await planAll(dtype, { reward })) };
    const lora = await planAll(dtype, languageWork({ rank: kRank }));
    const loraInt8 = await planAll(dtype, languageWork({ rank: kRank }, true));
    return { run, ...(await planAll(dtype, languageWork(undefined))), lora, loraInt8 };
  };
  return { f32: await all('f32'), bf16: await all('bf16') };
}

/** What a model has besides the usual, in words. */
function features(c: ModelConfig): string[] {
  const { slidingWindow: window, rope } = c;
  const by = rope?.scaling && 'factor' in rope.scaling ? ` by ${rope.scaling.factor}` : '';
  const scaling = rope?.scaling ? `, ${rope.scaling.type} scaling${by}` : '';
  const share = rope?.partialRotaryFactor ? `, ${rope.partialRotaryFactor * 100} % of the channels` : '';
  const gated = c.gatedMlp ? (c.activation === 'silu' ? 'SwiGLU' : 'GeGLU') : c.activation;
  return [
    c.norm === 'layer' ? 'LayerNorm' : `RMSNorm${c.normOffset === 1 ? ' with 1 + weight' : ''}`,
    c.preNorm ? (c.postNorm ? 'norms before and after' : '') : 'norms after',
    c.qkNorm === 'head' ? "norm of each head's queries and keys" : c.qkNorm ? 'norm of all queries and keys' : '',
    rope ? `rotary positions (base ${rope.theta}${scaling}${share})` : 'learned positions',
    c.windowRope ? `base ${c.windowRope.theta} in windows` : '',
    c.noRopeLayers.length > 0 ? `${c.noRopeLayers.length} layers without positions` : '',
    window ? `a window of ${window.size} in ${c.numLayers - window.fullLayers.length} layers` : '',
    gated,
    c.parallelResidual ? 'attention and MLP in parallel' : '',
    c.attentionSoftcap ? `scores capped at ${c.attentionSoftcap}` : '',
    c.logitSoftcap ? `logits capped at ${c.logitSoftcap}` : '',
    c.scaledEmbedding ? 'scaled embeddings' : '',
    c.qkvBias ? 'bias on queries, keys and values' : '',
    c.tiedHead ? 'tied head' : '',
  ].filter((feature) => feature !== '');
}

const size = (bytes: number) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);
const shown = ({ id, token }: Token) => (token === null ? String(id) : `${JSON.stringify(token)} (${id})`);

function table(found: Info): string {
  const { model, files, tokenizer, specialTokens: special, memory } = found;
  const rows: [string, string][] = [];
  if (model) {
    const { config: c, parameters } = model;
    const what = model.head === 'language' ? 'a language model' : 'a reward model';
    const groups = c.numKvHeads === c.numHeads ? '' : `, ${c.numKvHeads} of keys and values`;
    rows.push(['family', `${model.family}, ${model.class}: ${what}`]);
    rows.push([
      'parameters',
      `${thousands(parameters.total)}, of which ${thousands(parameters.embedding)} in embedding and language head`,
    ]);
    rows.push([
      'shape',
      `${c.numLayers} layers of ${c.channels} channels, ${c.numHeads} heads of ${c.headDim}${groups}`,
    ]);
    rows.push(['', `MLP ${c.mlpChannels}, vocabulary ${c.vocabSize}, context ${c.maxPositions} tokens`]);
    rows.push(['features', features(c).join(', ')]);
  }
  if (files) rows.push(['files', `${files.count} of ${size(files.bytes)}, ${files.dtypes.join(', ')}`]);
  if (tokenizer) {
    rows.push(['tokenizer', `${tokenizer.tokens} tokens, ${tokenizer.chatTemplate ? 'with a' : 'no'} chat template`]);
    const ends = special.end.map(shown).join(', ');
    const others = (['bos', 'pad'] as const).flatMap((name) =>
      special[name] ? [`${name} ${shown(special[name])}`] : [],
    );
    rows.push(['tokens', [`a response ends with ${ends}`, ...others].join('; ')]);
  }
  if (memory) {
    const words = { run: 'to run', sft: 'sft', reward: 'reward', ppo: 'ppo' } as const;
    const listed = (sizes: Partial<Memory>) =>
      Object.entries(words).flatMap(([name, word]) => {
        const bytes = sizes[name as keyof typeof words];
        return bytes === undefined ? [] : [`${word} ${size(bytes)}`];
      });
    for (const dtype of ['f32', 'bf16'] as const) {
      rows.push([dtype === 'f32' ? 'memory' : '', `${dtype}: ${listed(memory[dtype]).join(', ')}`]);
      const { lora, loraInt8 } = memory[dtype];
      if (lora) rows.push(['', `${dtype} with --lora-r ${kRank}: ${listed(lora).join(', ')}`]);
      if (loraInt8) rows.push(['', `${dtype} with --lora-r ${kRank} --int8: ${listed(loraInt8).join(', ')}`]);
    }
    rows.push(['', `with passes of ${kPass} tokens, sequences of ${Math.min(model!.config.maxPositions, kLength)}`]);
  }
  if (found.int8) {
    const { kl, klMax, tokens } = found.int8;
    rows.push([
      '8 bits',
      `KL from the weights as they are ${kl.toPrecision(2)} nats a token, ${klMax.toPrecision(2)} at most, of ${tokens} tokens`,
    ]);
  }
  for (const notice of found.notices) rows.push(['note', notice]);
  for (const problem of found.problems) rows.push(['refused', problem]);
  return `${found.folder}\n${rows.map(([name, value]) => `  ${name.padEnd(11)}${value}\n`).join('')}`;
}
