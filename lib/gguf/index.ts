/** Models as GGUF files, which llama.cpp runs. */
import { resolve } from 'node:path';
import { HeedError } from '../core/errors.js';
import type { Abortable } from '../core/native.js';
import { endsOf, type ModelConfig } from '../huggingface/modelconfig.js';
import type { LanguageModel } from '../runtime/model.js';
import { architectureOf, changed, ggufNames, refuse } from './architectures.js';
import { type GgufTensor, type GgufValue, writeGguf } from './container.js';
import { type GgufType, kTypes } from './formats.js';
import { ggufVocabulary } from './vocabulary.js';

export type { GgufType } from './formats.js';

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

function settings(config: ModelConfig, type: GgufType): Record<string, GgufValue> {
  const { name, keys } = architectureOf(config);
  const { rope, numHeads, numKvHeads, headDim, slidingWindow, maxPositions } = config;
  const own = Object.entries(keys?.(config) ?? {}).map(([key, value]) => [`${name}.${key}`, value]);
  // llama.cpp has windows only where there is a key for them: within a window there is no difference.
  const hasWindow = own.some(([key]) => key === `${name}.attention.sliding_window`);
  const window = (!hasWindow && slidingWindow?.size) || maxPositions;
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
          [`${name}.rope.dimension_count`]: { u32: headDim * (rope.partialRotaryFactor ?? 1) },
          [`${name}.rope.freq_base`]: { f32: rope.theta },
        }
      : {}),
    ...(scaling?.type === 'linear'
      ? {
          [`${name}.rope.scaling.type`]: { string: 'linear' },
          [`${name}.rope.scaling.factor`]: { f32: scaling.factor },
        }
      : {}),
    ...Object.fromEntries(own),
  };
}

function tensorsOf(model: LanguageModel, type: GgufType, read: (name: string) => Promise<Float32Array>): GgufTensor[] {
  const { config } = model;
  const names = ggufNames(config);
  const tensors = model.parameters().map(({ name, shape }): GgufTensor => {
    const found = name.match(/^(.*)\.(weight|bias)$/)!;
    const { to, change } = names.get(found[1]!) ?? refuse(`it has no place for ${name}`);
    const isMatrix = shape.length === 2;
    const size = isMatrix && change?.transpose ? [shape[1]!, shape[0]!] : [...shape];
    return {
      name: `${to}.${found[2]}`,
      shape: size,
      type: isMatrix && to !== 'position_embd' ? typeFor(type, size[1]!) : 'f32',
      values: async () => changed(await read(name), shape, change, config.headDim),
    };
  });
  const embedding = tensors.find(({ name }) => name === 'token_embd.weight')!;
  if (config.tiedHead && architectureOf(config).needsHead) tensors.push({ ...embedding, name: 'output.weight' });
  const factors = ropeFactors(config);
  return factors
    ? [...tensors, { name: 'rope_freqs.weight', shape: [factors.length], type: 'f32', values: async () => factors }]
    : tensors;
}

const typeFor = (type: GgufType, cols: number): GgufType => (cols % kTypes[type].block === 0 ? type : 'f16');

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
