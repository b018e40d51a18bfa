// The fixtures of test/fixtures/make.py, read without heed's code.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const FIXTURES = join(import.meta.dirname, '..', 'fixtures');
export const LANGUAGE_MODELS = [
  'gpt2',
  'gpt2-gelu',
  'llama',
  'llama-untied-bf16',
  'llama3-biases',
  'llama-linear-f16',
  'llama-yarn',
  'qwen2',
  'qwen2-untied',
  'qwen2-window',
  'mistral',
  'qwen3',
  'gpt_neox',
  'gpt_neox-serial',
  'smollm3',
  'olmo2',
  'phi3',
  'phi3-longrope',
  'gpt_neo',
  'opt',
  'gemma2',
  'gemma3',
] as const;
export const SCALAR_MODELS = [
  'gpt2-scalar',
  'llama-scalar',
  'qwen2-scalar',
  'mistral-scalar',
  'qwen3-scalar',
  'gpt_neox-scalar',
  'smollm3-scalar',
  'olmo2-scalar',
  'phi3-scalar',
  'gpt_neo-scalar',
  'opt-scalar',
  'gemma2-scalar',
  'gemma3-scalar',
] as const;

export interface Sequences {
  temperature: number;
  clipRange: number;
  entropyCoef: number;
  end: number;
  trees: { prompt: number[]; responses: number[][] }[];
  ranked: { prompt: number[]; responses: number[][]; ranks: number[] }[];
}

export interface Numbers {
  /** Relative L2 of transformers' float32 results against float64. */
  float32Error: Record<string, number>;
  greedy?: number[][];
}

export const sequences = (): Sequences => readJson(join(FIXTURES, 'sequences.json'));
export const numbers = (model: string): Numbers => readJson(join(FIXTURES, model, 'expected.json'));
export const expected = (model: string): Map<string, Float64Array> =>
  readTensors(join(FIXTURES, model, 'expected.safetensors'));

export function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(file, 'utf8')) as T;
}

/** Every tensor of a safetensors file, as numbers. */
export function readTensors(file: string): Map<string, Float64Array> {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, Float64Array>();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const data = Uint8Array.from(bytes.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1]));
    tensors.set(name, decode(dtype, data));
  }
  return tensors;
}

function decode(dtype: string, data: Uint8Array): Float64Array {
  if (dtype === 'F64') return new Float64Array(data.buffer);
  if (dtype === 'F32') return Float64Array.from(new Float32Array(data.buffer));
  if (dtype === 'BF16') {
    const words = Uint32Array.from(new Uint16Array(data.buffer), (word) => word << 16);
    return Float64Array.from(new Float32Array(words.buffer));
  }
  if (dtype === 'F16') return Float64Array.from(new Uint16Array(data.buffer), half);
  throw new Error(`fixtures have no ${dtype}`);
}

function half(word: number): number {
  const [sign, exponent, fraction] = [word >> 15 ? -1 : 1, (word >> 10) & 31, word & 1023];
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** ‖value - reference‖ / ‖reference‖, the norm itself where the reference is 0. */
export function relativeError(value: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (value.length !== reference.length) throw new Error(`${value.length} values, expected ${reference.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < value.length; i++) {
    difference += (value[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return Math.sqrt(norm > 0 ? difference / norm : difference);
}
