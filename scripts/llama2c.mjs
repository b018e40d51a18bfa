// Converts a model and a tokenizer of llama2.c (its first format) to a model folder:
//   node scripts/llama2c.mjs stories260K.bin tok512.bin FOLDER
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configToHf, modelConfig } from '../dist/lib/huggingface/config.js';
import { layOut } from '../dist/lib/huggingface/safetensors.js';

const [modelFile, tokenizerFile, folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node scripts/llama2c.mjs MODEL.bin TOKENIZER.bin FOLDER');
  process.exit(2);
}

const { config, tensors } = readModel(readFileSync(modelFile));
const specialTokens = { bos: 1, eos: 1 }; // a story ends where the next one begins
mkdirSync(folder, { recursive: true });
const info = { config, kind: 'language', specialTokens, scoreOffset: 0 };
writeFileSync(join(folder, 'config.json'), `${JSON.stringify(configToHf(info, 'F32'), null, 2)}\n`);
const { prefix } = layOut(tensors, 'F32');
const bytes = ({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([prefix, ...tensors.map(bytes)]));
const tokenizer = readTokenizer(readFileSync(tokenizerFile), config.vocabSize);
writeFileSync(join(folder, 'tokenizer.json'), `${JSON.stringify(tokenizer)}\n`);
writeFileSync(
  join(folder, 'tokenizer_config.json'),
  `${JSON.stringify({ bos_token: '<s>', eos_token: '<s>', add_bos_token: true, add_eos_token: false })}\n`,
);

/** Seven integers, then float32 matrices, one kind after the other for all layers. */
function readModel(file) {
  const [channels, mlpChannels, numLayers, numHeads, numKvHeads, vocab, maxPositions] = Array.from(
    { length: 7 },
    (_, i) => file.readInt32LE(4 * i),
  );
  const vocabSize = Math.abs(vocab); // negative: the head is a matrix of its own
  const headDim = channels / numHeads;
  let at = 28;
  const take = (...shape) => {
    const size = shape.reduce((n, d) => n * d, 1);
    const values = new Float32Array(Uint8Array.from(file.subarray(at, at + 4 * size)).buffer);
    if (values.length !== size) throw new Error(`${modelFile} ends at byte ${file.length}, inside a tensor`);
    at += 4 * size;
    return { shape, values };
  };
  const [A, K] = [channels, numKvHeads * headDim];
  const read = (...shape) => Array.from({ length: numLayers }, () => take(...shape));
  const embedding = take(vocabSize, channels);
  const attentionNorm = read(channels);
  const [q, k, v, out] = [read(A, channels), read(K, channels), read(K, channels), read(channels, A)];
  const mlpNorm = read(channels);
  const [gate, down, up] = [read(mlpChannels, channels), read(channels, mlpChannels), read(mlpChannels, channels)];
  const norm = take(channels);
  at += 4 * maxPositions * headDim; // its tables of rotary positions
  const head = vocab < 0 ? [{ name: 'lm_head.weight', ...take(vocabSize, channels) }] : [];
  const layers = Array.from({ length: numLayers }, (_, i) =>
    Object.entries({
      input_layernorm: attentionNorm[i],
      'self_attn.q_proj': halves(q[i], headDim),
      'self_attn.k_proj': halves(k[i], headDim),
      'self_attn.v_proj': v[i],
      'self_attn.o_proj': out[i],
      post_attention_layernorm: mlpNorm[i],
      'mlp.gate_proj': gate[i],
      'mlp.up_proj': up[i],
      'mlp.down_proj': down[i],
    }).map(([name, tensor]) => ({ name: `model.layers.${i}.${name}.weight`, ...tensor })),
  );
  const sizes = { numLayers, numHeads, numKvHeads, channels, mlpChannels, vocabSize, maxPositions };
  return {
    config: modelConfig('llama', { ...sizes, tiedHead: vocab > 0 }),
    tensors: [
      { name: 'model.embed_tokens.weight', ...embedding },
      ...layers.flat(),
      { name: 'model.norm.weight', ...norm },
      ...head,
    ],
  };
}

/** llama2.c rotates neighbouring channels together, Llama in transformers those of a head's first half with its second. */
function halves({ shape, values }, headDim) {
  const [rows, cols] = shape;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const [head, i] = [row - (row % headDim), row % headDim];
    const from = head + (i < headDim / 2 ? 2 * i : 2 * (i - headDim / 2) + 1);
    result.set(values.subarray(from * cols, (from + 1) * cols), row * cols);
  }
  return { shape, values: result };
}

/** SentencePiece's pieces with their scores; merges are all pairs of pieces that make one, those of higher score first. */
function readTokenizer(file, size) {
  let at = 4; // after the longest length
  const pieces = Array.from({ length: size }, (_, id) => {
    const [score, length] = [file.readFloatLE(at), file.readInt32LE(at + 4)];
    const text = file.toString('utf8', at + 8, at + 8 + length);
    at += 8 + length;
    const special = ['<unk>', '<s>', '</s>'][id];
    return { score, text: special ?? text.replaceAll(' ', '▁') };
  });
  const vocab = Object.fromEntries(pieces.map(({ text }, id) => [text, id]));
  const merges = pieces
    .flatMap(({ score, text }, id) => {
      const characters = id < 259 ? [] : Array.from(text); // special tokens and bytes are not merged
      const cuts = characters
        .slice(1)
        .map((_, i) => [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')]);
      return cuts.filter((cut) => cut.every((part) => Object.hasOwn(vocab, part))).map((cut) => ({ score, cut }));
    })
    .sort((a, b) => b.score - a.score)
    .map(({ cut }) => cut);
  const added = [0, 1, 2].map((id) => ({
    id,
    content: pieces[id].text,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}
