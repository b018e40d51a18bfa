/** Frames of LZ4 (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), in which Arrow compresses its buffers. */

const kMagic = 0x184d2204;
const kUncompressed = 0x80000000;
const kShortestMatch = 4;

/** @throws Error unless the frame has exactly `length` bytes of content */
export function lz4Frame(frame: Uint8Array, length: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const word = (at: number) => {
    if (at + 4 > frame.length) throw new Error('an LZ4 frame is cut short');
    return view.getUint32(at, true);
  };
  if (word(0) !== kMagic) throw new Error('a buffer is no LZ4 frame');
  const flags = frame[4]!;
  const [hasBlockSums, hasSize, hasDictionary] = [flags & 0x10, flags & 0x08, flags & 0x01];
  if (hasDictionary) throw new Error('an LZ4 frame needs a dictionary');
  const out = new Uint8Array(length);
  let at = 4 + 2 + (hasSize ? 8 : 0) + 1;
  let written = 0;
  for (let size = word(at); size !== 0; size = word(at)) {
    const end = at + 4 + (size & ~kUncompressed);
    if (end > frame.length) throw new Error('an LZ4 frame is cut short');
    const block = frame.subarray(at + 4, end);
    written = size & kUncompressed ? copy(block, out, written) : decode(block, out, written);
    at = end + (hasBlockSums ? 4 : 0);
  }
  if (written !== length) throw new Error(`an LZ4 frame has ${written} bytes, expected ${length}`);
  return out;
}

function copy(bytes: Uint8Array, out: Uint8Array, to: number): number {
  if (to + bytes.length > out.length) throw new Error('an LZ4 frame has more bytes than its buffer');
  out.set(bytes, to);
  return to + bytes.length;
}

/** Decodes a block, which may refer to what was written before it. @returns the end of what is written */
function decode(block: Uint8Array, out: Uint8Array, from: number): number {
  let at = 0;
  let to = from;
  const byte = () => {
    if (at >= block.length) throw new Error('an LZ4 block is cut short');
    return block[at++]!;
  };
  const lengthOf = (nibble: number) => {
    let length = nibble;
    for (let more = nibble === 15 ? 255 : 0; more === 255; length += more) more = byte();
    return length;
  };
  while (at < block.length) {
    const token = byte();
    const literals = lengthOf(token >> 4);
    if (at + literals > block.length) throw new Error('an LZ4 block is cut short');
    to = copy(block.subarray(at, at + literals), out, to);
    at += literals;
    if (at === block.length) break; // the last sequence has no match
    const offset = byte() | (byte() << 8);
    if (offset === 0 || offset > to) throw new Error(`an LZ4 block goes back by ${offset} bytes of ${to}`);
    const end = to + lengthOf(token & 15) + kShortestMatch;
    if (end > out.length) throw new Error('an LZ4 frame has more bytes than its buffer');
    for (; to < end; to++) out[to] = out[to - offset]!; // they may overlap
  }
  return to;
}
