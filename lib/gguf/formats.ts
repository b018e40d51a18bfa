/** Number formats of GGUF's tensors, rounded as llama.cpp rounds. */

export type GgufType = 'f32' | 'f16' | 'bf16' | 'q8_0';

interface Format {
  /** In a tensor's description. */
  readonly id: number;
  /** `general.file_type` of a file whose matrices have it. */
  readonly fileType: number;
  /** Elements of a block, and its bytes. */
  readonly block: number;
  readonly blockBytes: number;
}

export const kTypes: Readonly<Record<GgufType, Format>> = {
  f32: { id: 0, fileType: 0, block: 1, blockBytes: 4 },
  f16: { id: 1, fileType: 1, block: 1, blockBytes: 2 },
  q8_0: { id: 8, fileType: 7, block: 32, blockBytes: 34 },
  bf16: { id: 30, fileType: 32, block: 1, blockBytes: 2 },
};

export function encode(values: Float32Array, type: GgufType): Uint8Array {
  switch (type) {
    case 'f32':
      return bytesOf(values);
    case 'bf16':
      return bytesOf(toBf16(values));
    case 'f16':
      return bytesOf(Uint16Array.from(values, toF16));
    case 'q8_0':
      return toQ8(values);
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** To nearest, ties to even. */
function toBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (x) =>
    (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 64 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16,
  );
}

const word = new DataView(new ArrayBuffer(4));

/** To nearest, ties to even; numbers outside the range become infinite. */
export function toF16(value: number): number {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size >= 0x47800000) return sign | (size > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (size < 0x38800000) return sign | roundEven(Math.abs(value) * 2 ** 24); // denormal: multiples of 2^-24
  const rounded = size + 0x0fff + ((size >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

export function fromF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Blocks of 32 numbers: a scale in f16, max / 127, then each number over the scale, rounded away from zero. */
function toQ8(values: Float32Array): Uint8Array {
  const { block, blockBytes } = kTypes.q8_0;
  const out = Buffer.alloc((values.length / block) * blockBytes);
  for (let b = 0; b * block < values.length; b++) {
    const some = values.subarray(b * block, (b + 1) * block);
    let most = 0;
    for (const x of some) most = Math.max(most, Math.abs(x));
    const scale = Math.fround(most / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    out.writeUInt16LE(toF16(scale), b * blockBytes);
    for (let i = 0; i < block; i++) {
      const x = Math.fround(some[i]! * inverse);
      out.writeInt8(Math.sign(x) * Math.floor(Math.abs(x) + 0.5), b * blockBytes + 2 + i);
    }
  }
  return out;
}
