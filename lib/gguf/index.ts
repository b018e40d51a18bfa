/** Models as GGUF files, which llama.cpp runs. */
import { resolve } from 'node:path';
import { HeedError } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import { familyOf } from '../huggingface/config.js';
import { endsOf, type FamilyName, type ModelConfig } from '../huggingface/modelconfig.js';
import type { LanguageModel } from '../runtime/model.js';
import { type GgufTensor, type GgufValue, writeGguf } from './container.js';
import { type GgufType, kTypes } from './formats.js';
import { ggufVocabulary } from './vocabulary.js';

export type { GgufType } from './formats.js';

/** What llama.cpp calls a family, and whether it rotates neighbouring channels rather than halves of a head. */
const kArchitectures: Partial<Readonly<Record<FamilyName, { readonly name: string; readonly pairs: boolean }>>> = {
  gpt2: { name: 'gpt2', pairs: false },
  llama: { name: 'llama', pairs: true },
  mistral: { name: 'llama', pairs: true },
  qwen2: { name: 'qwen2', pairs: false },
};

export interface GgufOptions extends Abortable {
  /** The folder of the tokenizer. Default: the one that the model was loaded from. */
  readonly tokenizerFrom?: string | undefined;
  /**
   * Number format of the matrices. Default 'f32'. 'q8_0' is 8 bits with a scale for every 32 numbers; matrices whose rows are no
   * multiple of that are 'f16'.
   */
  readonly type?: GgufType | undefined;
}

/**
 * Writes a language model as one GGUF file with its tokenizer. An adapter is merged first.
 * @throws HeedError ERR_INVALID_ARGUMENT or DataError naming what llama.cpp cannot compute; HeedError ERR_IO
 */
export async function exportGguf(model: LanguageModel, file: string, options: GgufOptions = {}): Promise<void> {
  const { type = 'f32', tokenizerFrom = model.folder ?? model.base?.folder, signal } = options;
  if (!Object.hasOwn(kTypes, type))
    throw new RangeError(`type is ${String(type)}, expected ${Object.keys(kTypes).join(', ')}`);
  if (tokenizerFrom === undefined)
    throw new HeedError('ERR_INVALID_ARGUMENT', 'tokenizerFrom is missing: the model was not loaded from a folder');
  const { config } = model;
  const keys = {
    ...settings(config, type),
    ...(await ggufVocabulary(tokenizerFrom, config.vocabSize, endsOf(model.specialTokens))),
  };
  const whole = model.lora ? await model.merge({ signal }) : model;
  try {
    const tensors = tensorsOf(whole, type, (name) => whole.parameter(name, { signal }));
    await writeGguf(resolve(file), keys, tensors);
  } finally {
    if (whole !== model) await whole.dispose();
  }
}

function refuse(what: string): never {
  throw new HeedError('ERR_INVALID_ARGUMENT', `the model cannot be exported to GGUF: ${what}`);
}

function settings(config: ModelConfig, type: GgufType): Record<string, GgufValue> {
  const { name } = architectureOf(config);
  const { rope, numHeads, numKvHeads, headDim, slidingWindow, maxPositions } = config;
  if (config.activation === 'gelu') refuse("llama.cpp computes GELU in GPT-2's approximation, not exactly");
  // llama.cpp has no window for these architectures: within it there is no difference.
  const window = slidingWindow?.size ?? maxPositions;
  const scaling = rope?.scaling;
  return {
    'general.architecture': { string: name },
    'general.file_type': { u32: kTypes[type].fileType },
    'general.quantization_version': { u32: 2 },
    [`${name}.context_length`]: { u32: Math.min(maxPositions, window) },
    [`${name}.embedding_length`]: { u32: config.channels },
    [`${name}.feed_forward_length`]: { u32: config.mlpChannels },
    [`${name}.block_count`]: { u32: config.numLayers },
    [`${name}.vocab_size`]: { u32: config.vocabSize },
    [`${name}.attention.head_count`]: { u32: numHeads },
    [`${name}.attention.head_count_kv`]: { u32: numKvHeads },
    [`${name}.attention.key_length`]: { u32: headDim },
    [`${name}.attention.value_length`]: { u32: headDim },
    [`${name}.attention.layer_norm_${config.norm === 'rms' ? 'rms_' : ''}epsilon`]: { f32: config.normEps },
    ...(rope
      ? {
          [`${name}.rope.dimension_count`]: { u32: headDim },
          [`${name}.rope.freq_base`]: { f32: rope.theta },
        }
      : {}),
    ...(scaling?.type === 'linear'
      ? {
          [`${name}.rope.scaling.type`]: { string: 'linear' },
          [`${name}.rope.scaling.factor`]: { f32: scaling.factor },
        }
      : {}),
  };
}

function architectureOf({ family }: ModelConfig) {
  return kArchitectures[family] ?? refuse(`heed writes ${Object.keys(kArchitectures).join(', ')}, not ${family}`);
}

function tensorsOf(model: LanguageModel, type: GgufType, read: (name: string) => Promise<Float32Array>): GgufTensor[] {
  const { config } = model;
  const names = ggufNames(config);
  const tensors = model.parameters().map(({ name, shape }): GgufTensor => {
    const found = name.match(/^(.*)\.(weight|bias)$/)!;
    const { to, change } = names.get(found[1]!) ?? refuse(`it has no place for ${name}`);
    const isMatrix = shape.length === 2;
    const turned = isMatrix && change?.transpose === true;
    const size = turned ? [shape[1]!, shape[0]!] : [...shape];
    return {
      name: `${to}.${found[2]}`,
      shape: size,
      type: isMatrix && to !== 'position_embd' ? typeFor(type, size[1]!) : 'f32',
      async values() {
        let values = await read(name);
        if (turned) values = transposed(values, shape[0]!, shape[1]!);
        return change?.heads === undefined ? values : pairedRows(values, change.heads, config.headDim);
      },
    };
  });
  const factors = ropeFactors(config);
  return factors
    ? [...tensors, { name: 'rope_freqs.weight', shape: [factors.length], type: 'f32', values: async () => factors }]
    : tensors;
}

const typeFor = (type: GgufType, cols: number): GgufType => (cols % kTypes[type].block === 0 ? type : 'f16');

/** How a module's tensors change: transposed, or rows of so many heads in another order. */
interface Change {
  readonly transpose?: boolean;
  readonly heads?: number;
}

/** By the names of transformers. */
function ggufNames(config: ModelConfig): Map<string, { readonly to: string; readonly change?: Change }> {
  const { names } = familyOf(config.family);
  const { pairs } = architectureOf(config);
  const transpose = config.weightLayout === 'in,out';
  const reordered = (heads: number): Change => (pairs ? { heads } : { transpose });
  const map = new Map<string, { to: string; change?: Change }>([
    [names.embedding, { to: 'token_embd' }],
    [names.positions, { to: 'position_embd' }],
    [names.finalNorm, { to: 'output_norm' }],
    [names.languageHead, { to: 'output' }],
  ]);
  for (let layer = 0; layer < config.numLayers; layer++) {
    const add = (from: string, to: string, change?: Change) =>
      map.set(from.replace('{}', String(layer)), { to: `blk.${layer}.${to}`, ...(change ? { change } : {}) });
    add(names.attentionNorm, 'attn_norm');
    if (names.qkv.length === 1) add(names.qkv[0]!, 'attn_qkv', { transpose });
    else {
      add(names.qkv[0]!, 'attn_q', reordered(config.numHeads));
      add(names.qkv[1]!, 'attn_k', reordered(config.numKvHeads));
      add(names.qkv[2]!, 'attn_v', { transpose });
    }
    add(names.attentionOut, 'attn_output', { transpose });
    add(names.mlpNorm, 'ffn_norm');
    const up = names.up.length === 1 ? ['ffn_up'] : ['ffn_gate', 'ffn_up'];
    for (const [i, from] of names.up.entries()) add(from, up[i]!, { transpose });
    add(names.down, 'ffn_down', { transpose });
  }
  return map;
}

function transposed(values: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = values[r * cols + c]!;
  return out;
}

/** Rows i and i + D / 2 of each head, which are rotated together, side by side: those of a matrix, or the elements of a bias. */
function pairedRows(values: Float32Array, heads: number, headDim: number): Float32Array {
  const cols = values.length / (heads * headDim);
  const half = headDim / 2;
  const out = new Float32Array(values.length);
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < headDim; i++) {
      const from = h * headDim + (i % 2) * half + (i >> 1);
      out.set(values.subarray(from * cols, (from + 1) * cols), (h * headDim + i) * cols);
    }
  }
  return out;
}

/** What llama.cpp divides each frequency by, for Llama 3.1's scaling. */
function ropeFactors({ rope, headDim }: ModelConfig): Float32Array | undefined {
  if (rope?.scaling?.type !== 'llama3') return undefined;
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: length } = rope.scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * rope.theta ** ((2 * i) / headDim);
    if (wavelength < length / high) return 1;
    if (wavelength > length / low) return factor;
    const smooth = (length / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
