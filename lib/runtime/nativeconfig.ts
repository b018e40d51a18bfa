/** A configuration as the native half takes it: its features one by one, and what files call its parameters. */
import type * as addon from '../../bindings/addon.js';
import { HeedError } from '../core/errors.js';
import type { ModelConfig, ModelKind } from '../huggingface/modelconfig.js';

const heads = { languageHead: 'lm_head', scalarHead: 'score' };

const gpt2 = {
  norm: 'layer',
  gatedMlp: false,
  qkvBias: true,
  attentionOutBias: true,
  mlpBias: true,
  weightLayout: 'in,out',
  names: {
    embedding: 'transformer.wte',
    positions: 'transformer.wpe',
    attentionNorm: 'transformer.h.{}.ln_1',
    qkv: ['transformer.h.{}.attn.c_attn'],
    attentionOut: 'transformer.h.{}.attn.c_proj',
    mlpNorm: 'transformer.h.{}.ln_2',
    up: ['transformer.h.{}.mlp.c_fc'],
    down: 'transformer.h.{}.mlp.c_proj',
    finalNorm: 'transformer.ln_f',
    ...heads,
  },
} as const;

const layer = 'model.layers.{}';
const llama = {
  norm: 'rms',
  gatedMlp: true,
  qkvBias: false,
  attentionOutBias: false,
  mlpBias: false,
  weightLayout: 'out,in',
  names: {
    embedding: 'model.embed_tokens',
    positions: '',
    attentionNorm: `${layer}.input_layernorm`,
    qkv: ['q', 'k', 'v'].map((part) => `${layer}.self_attn.${part}_proj`),
    attentionOut: `${layer}.self_attn.o_proj`,
    mlpNorm: `${layer}.post_attention_layernorm`,
    up: ['gate', 'up'].map((part) => `${layer}.mlp.${part}_proj`),
    down: `${layer}.mlp.down_proj`,
    finalNorm: 'model.norm',
    ...heads,
  },
} as const;

/** @throws HeedError ERR_INVALID_ARGUMENT, or TypeError, that names the field of `config` */
export function nativeConfig(config: ModelConfig, kind: ModelKind): addon.ModelConfig {
  const { architecture, channels, numHeads, headDim, ropeTheta, numKvHeads } = config ?? {};
  const bad = (message: string): never => {
    throw new HeedError('ERR_INVALID_ARGUMENT', message);
  };
  if (typeof architecture !== 'string')
    throw new TypeError(`config.architecture is ${architecture}, expected a string`);
  if (architecture !== 'gpt2' && architecture !== 'llama')
    return bad(`architecture is ${architecture as string}, expected gpt2 or llama`);
  const isGpt2 = architecture === 'gpt2';
  if (isGpt2) {
    if (numKvHeads !== numHeads) bad(`numKvHeads is ${numKvHeads}, GPT-2 has as many as numHeads (${numHeads})`);
    if (numHeads * headDim !== channels)
      bad(`numHeads (${numHeads}) x headDim (${headDim}) is not channels (${channels})`);
  } else {
    if (!(ropeTheta > 1)) bad(`ropeTheta is ${ropeTheta}, expected more than 1`);
    if (headDim % 2 !== 0) bad(`headDim is ${headDim}, rotary positions need an even number`);
  }
  return {
    ...config,
    ...(isGpt2 ? gpt2 : llama),
    head: kind,
    ropeFrequencies: isGpt2
      ? new Float64Array()
      : Float64Array.from({ length: headDim / 2 }, (_, j) => ropeTheta ** ((-2 * j) / headDim)),
  };
}
