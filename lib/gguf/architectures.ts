/** What llama.cpp calls the families, which keys and names of tensors it reads, and what it computes only in one way. */
import { HeedError } from '../core/errors.js';
import { familyOf } from '../huggingface/config.js';
import type { FamilyName, ModelConfig } from '../huggingface/modelconfig.js';
import type { GgufValue } from './container.js';

export function refuse(what: string): never {
  throw new HeedError('ERR_INVALID_ARGUMENT', `the model cannot be exported to GGUF: ${what}`);
}

interface Architecture {
  readonly name: string;
  /** Whether it rotates neighbouring channels rather than halves of a head. */
  readonly pairs?: boolean;
  /** Whether a tied head is written as a matrix of its own. */
  readonly needsHead?: boolean;
  /** Biases: of all linear layers, of those of queries, keys and values, as the model has them, or none. */
  readonly biases: 'all' | 'qkv' | 'any' | 'none';
  /** What of a configuration it cannot compute; undefined: it can. */
  readonly lacks?: (config: ModelConfig) => string | undefined;
  readonly keys?: (config: ModelConfig) => Record<string, GgufValue>;
}

const kArchitectures: Partial<Readonly<Record<FamilyName, Architecture>>> = {
  gpt2: { name: 'gpt2', biases: 'all', lacks: exactGelu },
  llama: { name: 'llama', pairs: true, biases: 'any' },
  mistral: { name: 'llama', pairs: true, biases: 'any' },
  qwen2: { name: 'qwen2', biases: 'qkv' },
  qwen3: { name: 'qwen3', biases: 'none' },
  gpt_neox: {
    name: 'gptneox',
    biases: 'all',
    needsHead: true,
    // Pythia has the exact GELU: llama.cpp, and every GGUF file of Pythia, has GPT-2's.
    lacks: ({ activation }) => (activation === 'relu' ? 'llama.cpp has GELU here, not ReLU' : undefined),
    keys: ({ parallelResidual }) => ({ use_parallel_residual: { bool: parallelResidual } }),
  },
  phi3: { name: 'phi3', biases: 'none', needsHead: true },
  smollm3: {
    name: 'smollm3',
    pairs: true,
    biases: 'none',
    lacks: ({ noRopeLayers, numLayers }) => {
      const fourth = Array.from({ length: Math.floor(numLayers / 4) }, (_, i) => 4 * i + 3);
      return noRopeLayers.join() === fourth.join()
        ? undefined
        : `llama.cpp has no positions in every fourth layer, not in layers [${noRopeLayers.join(', ')}]`;
    },
  },
  olmo2: { name: 'olmo2', biases: 'none', needsHead: true },
  gemma2: { name: 'gemma2', biases: 'none', lacks: (config) => gemmaLacks(config, 2), keys: gemmaKeys },
  gemma3_text: { name: 'gemma3', biases: 'none', lacks: (config) => gemmaLacks(config, 6), keys: gemmaKeys },
};

/** @throws HeedError naming what llama.cpp lacks */
export function architectureOf(config: ModelConfig): Architecture {
  const { family } = config;
  const found = kArchitectures[family];
  if (!found) refuse(`llama.cpp has no ${family}; heed writes ${Object.keys(kArchitectures).join(', ')}`);
  const lack = found.lacks?.(config) ?? wrongBias(config, found.biases) ?? wrongScaling(config);
  return lack === undefined ? found : refuse(lack);
}

function exactGelu({ activation }: ModelConfig): string | undefined {
  return activation === 'gelu' ? "llama.cpp computes GELU in GPT-2's approximation, not exactly" : undefined;
}

function wrongBias(config: ModelConfig, biases: Architecture['biases']): string | undefined {
  if (biases === 'any') return undefined;
  const wanted = { qkvBias: biases !== 'none', attentionOutBias: biases === 'all', mlpBias: biases === 'all' };
  for (const key of ['qkvBias', 'attentionOutBias', 'mlpBias'] as const)
    if (config[key] !== wanted[key]) return `llama.cpp takes ${config.family} only with ${key} ${wanted[key]}`;
  return undefined;
}

function wrongScaling({ rope }: ModelConfig): string | undefined {
  const type = rope?.scaling?.type;
  if (type !== 'yarn' && type !== 'longrope' && type !== 'dynamic') return undefined;
  return `heed writes rotary positions with the scalings linear and llama3, not ${type}`;
}

/** Of every `period` layers, the last has no window. */
function gemmaLacks(config: ModelConfig, period: number): string | undefined {
  const { slidingWindow: window, numLayers, maxPositions, attentionScale, attentionSoftcap, logitSoftcap } = config;
  const full = Array.from({ length: Math.floor(numLayers / period) }, (_, i) => period * (i + 1) - 1);
  if (window && window.size < maxPositions && window.fullLayers.join() !== full.join())
    return `llama.cpp has windows in all but layers [${full.join(', ')}], not [${window.fullLayers.join(', ')}]`;
  if (!window && config.windowRope && config.family === 'gemma3_text')
    return 'llama.cpp has other positions in layers with windows, and this model has no windows';
  if (attentionScale !== null) return `llama.cpp scales scores by 1 / √head_dim, not by ${attentionScale}`;
  if (config.family === 'gemma2' && (attentionSoftcap === null || logitSoftcap === null))
    return 'llama.cpp caps scores and logits, and this model does not';
  if (config.windowRope && (config.windowRope.theta !== 10_000 || config.windowRope.scaling))
    return `llama.cpp has rotary positions of base 10000 in windows, not ${config.windowRope.theta}`;
  return config.tiedHead ? undefined : 'llama.cpp has the embedding as the head, not a matrix of its own';
}

function gemmaKeys(config: ModelConfig): Record<string, GgufValue> {
  const { attentionSoftcap, logitSoftcap, slidingWindow, maxPositions } = config;
  return {
    'attention.sliding_window': { u32: slidingWindow?.size ?? maxPositions },
    ...(attentionSoftcap === null ? {} : { attn_logit_softcapping: { f32: attentionSoftcap } }),
    ...(logitSoftcap === null ? {} : { final_logit_softcapping: { f32: logitSoftcap } }),
  };
}

/** How a module's tensors change. */
export interface Change {
  readonly transpose?: boolean;
  /** Rows of so many heads in pairs. */
  readonly heads?: number;
  /** Queries, keys and values of each head, of so many, become all queries, all keys, all values. */
  readonly byHead?: number;
  /** Added to each value. */
  readonly plus?: number;
}

/** Where modules go, by their names in transformers. */
export function ggufNames(config: ModelConfig): Map<string, { readonly to: string; readonly change?: Change }> {
  const { names } = familyOf(config.family);
  const { pairs = false } = architectureOf(config);
  const transpose = config.weightLayout === 'in,out';
  const norm: Change = { plus: config.normOffset };
  const reordered = (heads: number): Change => (pairs ? { heads } : { transpose });
  const map = new Map<string, { to: string; change?: Change }>([
    [names.embedding, { to: 'token_embd' }],
    [names.positions, { to: 'position_embd' }],
    [names.finalNorm, { to: 'output_norm', change: norm }],
    [names.languageHead, { to: 'output' }],
  ]);
  for (let layer = 0; layer < config.numLayers; layer++) {
    const add = (from: string, to: string, change?: Change) =>
      map.set(from.replace('{}', String(layer)), { to: `blk.${layer}.${to}`, ...(change ? { change } : {}) });
    add(names.attentionNorm, 'attn_norm', norm);
    if (names.qkv.length === 1)
      add(names.qkv[0]!, 'attn_qkv', names.qkvByHead ? { byHead: config.numHeads } : { transpose });
    else {
      add(names.qkv[0]!, 'attn_q', reordered(config.numHeads));
      add(names.qkv[1]!, 'attn_k', reordered(config.numKvHeads));
      add(names.qkv[2]!, 'attn_v', { transpose });
    }
    add(names.qNorm, 'attn_q_norm', norm);
    add(names.kNorm, 'attn_k_norm', norm);
    add(names.attentionOut, 'attn_output', { transpose });
    add(names.attentionPostNorm, 'post_attention_norm', norm);
    add(names.mlpNorm, 'ffn_norm', norm);
    const up = names.up.length === 1 ? ['ffn_up'] : ['ffn_gate', 'ffn_up'];
    for (const [i, from] of names.up.entries()) add(from, up[i]!, { transpose });
    add(names.down, 'ffn_down', { transpose });
    add(names.mlpPostNorm, 'post_ffw_norm', norm);
  }
  return map;
}

/** A tensor's values as llama.cpp has them. `shape`: in files of transformers. */
export function changed(
  values: Float32Array,
  shape: readonly number[],
  change: Change | undefined,
  headDim: number,
): Float32Array {
  const { transpose, heads, byHead, plus = 0 } = change ?? {};
  if (plus !== 0) return values.map((value) => value + plus);
  if (transpose && shape.length === 2) return transposed(values, shape[0]!, shape[1]!);
  if (heads !== undefined) return pairedRows(values, heads, headDim);
  return byHead === undefined ? values : ungrouped(values, byHead, headDim);
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

/** Rows of the query, key and value of each head: those of all queries, then of all keys, then of all values. */
function ungrouped(values: Float32Array, heads: number, headDim: number): Float32Array {
  const size = values.length / (3 * heads); // of a head's part
  const out = new Float32Array(values.length);
  for (let h = 0; h < heads; h++)
    for (let part = 0; part < 3; part++)
      out.set(values.subarray((3 * h + part) * size, (3 * h + part + 1) * size), (part * heads + h) * size);
  if (size % headDim !== 0) throw new RangeError(`a head has ${size} values, expected a multiple of ${headDim}`);
  return out;
}
