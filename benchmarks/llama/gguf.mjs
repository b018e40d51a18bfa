// A GPT-2 folder as the file that llama.cpp reads, GGUF version 3, in float32 or with matrices in bfloat16. Ids stand for tokens: the
// vocabulary is made up, since nothing is ever tokenised.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ALIGNMENT = 32;
const U32 = 4;
const I32 = 5;
const F32 = 6;
const STRING = 8;
const ARRAY = 9;
const TENSOR = { f32: 0, bf16: 30 };

export function writeGguf(folder, file, dtype) {
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
  const add = (name, values, rows, cols, type = 'f32') => out.push({ name, values, rows, cols, type });
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
  const keys = [
    ['general.architecture', string('gpt2')],
    ['general.alignment', u32(ALIGNMENT)],
    ['gpt2.context_length', u32(positions)],
    ['gpt2.embedding_length', u32(channels)],
    ['gpt2.feed_forward_length', u32(inner)],
    ['gpt2.block_count', u32(layers)],
    ['gpt2.attention.head_count', u32(heads)],
    ['gpt2.attention.layer_norm_epsilon', f32(config.layer_norm_epsilon)],
    ['tokenizer.ggml.model', string('gpt2')],
    ['tokenizer.ggml.pre', string('gpt-2')],
    ['tokenizer.ggml.tokens', array(STRING, tokens.map(text))],
    [
      'tokenizer.ggml.token_type',
      array(
        I32,
        tokens.map(() => word(1)),
      ),
    ],
    ['tokenizer.ggml.merges', array(STRING, [text('a b')])],
    ['tokenizer.ggml.bos_token_id', u32(vocab - 1)],
    ['tokenizer.ggml.eos_token_id', u32(vocab - 1)],
  ];
  let offset = 0;
  const infos = out.map((tensor) => {
    const bytes = tensor.rows * tensor.cols * (tensor.type === 'bf16' ? 2 : 4);
    const shape = tensor.rows === 1 ? [tensor.cols] : [tensor.cols, tensor.rows];
    const info = [text(tensor.name), word(shape.length), ...shape.map(long), word(TENSOR[tensor.type]), long(offset)];
    offset += bytes + padding(bytes).length;
    return Buffer.concat(info);
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    word(3),
    long(out.length),
    long(keys.length),
    ...keys.flatMap(([key, value]) => [text(key), value]),
    ...infos,
  ]);
  const data = out.flatMap(({ values, type }) => {
    const bytes = type === 'bf16' ? halves(values) : Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    return [bytes, padding(bytes.length)];
  });
  writeFileSync(file, Buffer.concat([head, padding(head.length), ...data]));
}

const word = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const long = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value) => Buffer.concat([long(Buffer.byteLength(value)), Buffer.from(value)]);
const u32 = (value) => Buffer.concat([word(U32), word(value)]);
const f32 = (value) => Buffer.concat([word(F32), Buffer.from(Float32Array.of(value).buffer)]);
const string = (value) => Buffer.concat([word(STRING), text(value)]);
const array = (type, items) => Buffer.concat([word(ARRAY), word(type), long(items.length), ...items]);
const padding = (length) => Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);

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

// To nearest, ties to even, as heed rounds.
function halves(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = Uint16Array.from(bits, (x) => (x + 0x7fff + ((x >>> 16) & 1)) >>> 16);
  return Buffer.from(out.buffer);
}
