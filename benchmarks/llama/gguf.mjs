// A GPT-2 folder as the file that llama.cpp reads, in float32 or with matrices in bfloat16. Ids stand for tokens: the vocabulary is made
// up, since nothing is ever tokenised.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeGguf } from '../../dist/lib/gguf/container.js';

export async function writeModel(folder, file, dtype) {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const {
    n_embd: channels,
    n_layer: layers,
    n_head: heads,
    n_positions: positions,
    n_inner: inner,
    vocab_size: vocab,
  } = config;
  const tensors = readTensors(join(folder, 'model.safetensors'));
  const take = (name) => tensors.get(`transformer.${name}`);
  const out = [];
  const add = (name, values, rows, cols, type = 'f32') =>
    out.push({ name, shape: rows === 1 ? [cols] : [rows, cols], type, values: async () => values });
  const module = (name, from) => {
    add(`${name}.weight`, take(`${from}.weight`), 1, channels);
    add(`${name}.bias`, take(`${from}.bias`), 1, channels);
  };
  // Files of GPT-2 have their matrices (in, out), llama.cpp has them (out, in).
  const linear = (name, from, ins, outs) => {
    add(`${name}.weight`, transpose(take(`${from}.weight`), ins, outs), outs, ins, dtype);
    add(`${name}.bias`, take(`${from}.bias`), 1, outs);
  };
  add('token_embd.weight', take('wte.weight'), vocab, channels, dtype);
  add('position_embd.weight', take('wpe.weight'), positions, channels);
  module('output_norm', 'ln_f');
  for (let i = 0; i < layers; i++) {
    module(`blk.${i}.attn_norm`, `h.${i}.ln_1`);
    linear(`blk.${i}.attn_qkv`, `h.${i}.attn.c_attn`, channels, 3 * channels);
    linear(`blk.${i}.attn_output`, `h.${i}.attn.c_proj`, channels, channels);
    module(`blk.${i}.ffn_norm`, `h.${i}.ln_2`);
    linear(`blk.${i}.ffn_up`, `h.${i}.mlp.c_fc`, channels, inner);
    linear(`blk.${i}.ffn_down`, `h.${i}.mlp.c_proj`, inner, channels);
  }
  const tokens = Array.from({ length: vocab }, (_, id) => `<${id}>`);
  const keys = {
    'general.architecture': { string: 'gpt2' },
    'gpt2.context_length': { u32: positions },
    'gpt2.embedding_length': { u32: channels },
    'gpt2.feed_forward_length': { u32: inner },
    'gpt2.block_count': { u32: layers },
    'gpt2.attention.head_count': { u32: heads },
    'gpt2.attention.layer_norm_epsilon': { f32: config.layer_norm_epsilon },
    'tokenizer.ggml.model': { string: 'gpt2' },
    'tokenizer.ggml.pre': { string: 'gpt-2' },
    'tokenizer.ggml.tokens': { strings: tokens },
    'tokenizer.ggml.token_type': { i32s: tokens.map(() => 1) },
    'tokenizer.ggml.merges': { strings: ['a b'] },
    'tokenizer.ggml.bos_token_id': { u32: vocab - 1 },
    'tokenizer.ggml.eos_token_id': { u32: vocab - 1 },
  };
  await writeGguf(file, keys, out);
}

function readTensors(file) {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  const tensors = new Map();
  for (const [
    name,
    {
      dtype,
      data_offsets: [begin, end],
    },
  ] of Object.entries(header).filter(([key]) => key !== '__metadata__')) {
    if (dtype !== 'F32') throw new Error(`${file}: ${name} is ${dtype}, expected F32`);
    tensors.set(name, new Float32Array(Uint8Array.from(bytes.subarray(8 + length + begin, 8 + length + end)).buffer));
  }
  return tensors;
}

function transpose(values, rows, cols) {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = values[r * cols + c];
  return out;
}
