/**
 * Arrow tables whose lengths and offsets were checked: the library trusts them, and would read without end where a file is damaged.
 */
import { CompressionType, setCompressionCodec, type Table, tableFromIPC } from '@uwdata/flechette';
import { decompress } from 'fzstd';
import { lz4Frame } from './lz4.js';

/** Every writer in use closes its streams, so that a file without an end is cut short. */
const kEndOfStream = Buffer.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0);
const kMagic = 'ARROW1';

const kLargest = 2 ** 31; // bytes of a buffer: damage shows as sizes beyond memory

/** Registers how compressed buffers are read; heed writes none. */
function reading(type: 0 | 1, decode: (bytes: Uint8Array, length: number) => Uint8Array): void {
  setCompressionCodec(type, {
    encode: () => {
      throw new Error('heed writes no Arrow');
    },
    decode: (bytes, length) => {
      if (!(length >= 0 && length < kLargest)) throw new Error(`a buffer has ${length} bytes uncompressed`);
      const whole = decode(bytes, length);
      if (whole.length !== length)
        throw new Error(`a buffer has ${whole.length} bytes uncompressed, expected ${length}`);
      return whole;
    },
  });
}
reading(CompressionType.LZ4_FRAME, lz4Frame);
reading(CompressionType.ZSTD, (bytes) => decompress(bytes).slice()); // of its own memory, so that numbers are aligned

/** The table of an Arrow stream, or of a file, which has a stream in it. @throws Error that says what is wrong */
export function arrowTable(bytes: Buffer): Table {
  const stream = bytes.toString('latin1', 0, kMagic.length) === kMagic ? streamIn(bytes) : bytes;
  if (stream === bytes && !stream.subarray(-kEndOfStream.length).equals(kEndOfStream))
    throw new Error('its end is missing');
  requireMessages(stream);
  const table = tableFromIPC(stream, { useBigInt: true });
  requireColumns(table);
  return table;
}

/** A file is its magic word, a stream, a footer, the footer's size and the magic word. */
function streamIn(bytes: Buffer): Buffer {
  const end = bytes.length - kMagic.length - 4;
  if (end < 8 || bytes.toString('latin1', end + 4) !== kMagic) throw new Error('its end is missing');
  const footer = bytes.readInt32LE(end);
  if (footer < 4 || footer > end - 8) throw new Error(`its footer has ${footer} bytes`);
  return bytes.subarray(8, end - footer);
}

/** A table of FlatBuffers: what its fields, by their place in the vtable, refer to. */
interface Layout {
  readonly [slot: number]: 'bytes' | number | Layout | readonly [Layout];
}
const kPairs = [{ 4: 'bytes', 6: 'bytes' }] as const;
const kField: Record<number, Layout[number]> = { 4: 'bytes', 10: {}, 12: { 6: {} }, 16: kPairs };
kField[14] = [kField];
const kBatch = { 6: 16, 8: 16, 10: {}, 12: 8 };
const kHeaders: Readonly<Record<number, Layout>> = {
  1: { 6: [kField], 8: kPairs },
  2: { 6: kBatch },
  3: kBatch,
};

/** Checks the metadata of every message of a stream. */
function requireMessages(stream: Buffer): void {
  for (let at = 0; at + 4 <= stream.length; ) {
    let size = stream.readInt32LE(at);
    at += 4;
    if (size === -1) {
      if (at + 4 > stream.length) throw new Error('it ends within a message');
      size = stream.readInt32LE(at);
      at += 4;
    }
    if (size === 0) return;
    if (size < 8 || at + size > stream.length)
      throw new Error(`a message has ${size} bytes of metadata, the file ${stream.length}`);
    const message = new Metadata(stream.subarray(at, at + size));
    at += size + message.bodyBytes();
  }
}

class Metadata {
  readonly #bytes: Buffer;
  #tables = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Checks the message. @returns the bytes that follow it */
  bodyBytes(): number {
    const root = this.#target(0);
    const kind = this.#field(root, 6);
    const type = kind === undefined ? 0 : this.#bytes[kind]!;
    this.#check(root, { 8: kHeaders[type] ?? {} });
    const at = this.#field(root, 10);
    if (at === undefined) return 0;
    const body = this.#inside(at, 8) && Number(this.#bytes.readBigInt64LE(at));
    if (body === false || !(body >= 0 && body < 2 ** 40)) throw new Error(`the body of a message has ${body} bytes`);
    return body;
  }

  #check(table: number, layout: Layout): void {
    if (8 * ++this.#tables > this.#bytes.length) throw new Error('its metadata refers to itself');
    for (const [slot, what] of Object.entries(layout)) {
      const field = this.#field(table, Number(slot));
      if (field === undefined) continue;
      const target = this.#target(field);
      if (what === 'bytes' || typeof what === 'number') this.#items(target, what === 'bytes' ? 1 : what);
      else if (!Array.isArray(what)) this.#check(target, what as Layout);
      else {
        const count = this.#items(target, 4);
        for (let i = 0; i < count; i++) this.#check(this.#target(target + 4 + 4 * i), what[0]);
      }
    }
  }

  /** Where a field is; undefined if the table does not have it. */
  #field(table: number, slot: number): number | undefined {
    const vtable = this.#inside(table, 4) ? table - this.#bytes.readInt32LE(table) : -1;
    if (!this.#inside(vtable, 4)) throw new Error('its metadata is damaged');
    if (slot + 2 > this.#bytes.readUInt16LE(vtable) || !this.#inside(vtable + slot, 2)) return undefined;
    const offset = this.#bytes.readUInt16LE(vtable + slot);
    return offset === 0 ? undefined : table + offset;
  }

  /** Where an offset leads. */
  #target(at: number): number {
    const target = this.#inside(at, 4) ? at + this.#bytes.readInt32LE(at) : -1;
    if (!this.#inside(target, 4)) throw new Error('its metadata is damaged');
    return target;
  }

  /** The number of items of a vector. */
  #items(vector: number, bytes: number): number {
    const count = this.#bytes.readUInt32LE(vector);
    if (!this.#inside(vector + 4, bytes * count)) throw new Error(`its metadata has a list of ${count} items`);
    return count;
  }

  #inside = (at: number, bytes: number) => at >= 0 && at + bytes <= this.#bytes.length;
}

/** A column's part, with what the library read of the file: fields that are missing are so by its type. */
interface Batch {
  readonly length: number;
  readonly type: { readonly typeId: number; readonly stride?: number };
  readonly values?: ArrayLike<unknown>;
  readonly offsets?: ArrayLike<number | bigint>;
  readonly sizes?: ArrayLike<number | bigint>;
  readonly children?: readonly Batch[];
}

const kNull = 1;
const kStruct = 13;
const kFixedSizeList = 16;
const kLists = [12, 17, 21]; // List, Map, LargeList
const kBitsPerByte = 8;

function requireColumns(table: Table): void {
  for (const [i, name] of table.names.entries()) {
    const column = table.getChildAt(i)! as unknown as { readonly length: number; readonly data: readonly Batch[] };
    if (column.length !== table.numRows)
      throw new Error(`column ${name} has ${column.length} rows, the table ${table.numRows}`);
    for (const batch of column.data) {
      const why = faultOf(batch);
      if (why !== undefined) throw new Error(`column ${name} ${why}`);
    }
  }
}

/** What is wrong with the lengths and offsets of a batch. */
function faultOf(batch: Batch): string | undefined {
  const { length, type, values, offsets, sizes, children = [] } = batch;
  if (!(Number.isSafeInteger(length) && length >= 0)) return `has ${length} values`;
  const isPlain = type.typeId !== kNull && children.length === 0 && !offsets;
  if (isPlain && values && kBitsPerByte * values.length < length) return `has ${length} values, but bytes for fewer`;
  if (offsets && sizes === undefined) {
    if (length > 0 && offsets.length < length + 1) return `has ${length} values, but ${offsets.length} offsets`;
    const end = kLists.includes(type.typeId) ? children[0]!.length : values?.length;
    let last = 0;
    for (let i = 0; end !== undefined && i < offsets.length && i <= length; i++) {
      const offset = Number(offsets[i]);
      if (offset < last || offset > end) return `has the offset ${offset}, expected ${last} to ${end}`;
      last = offset;
    }
  }
  if (type.typeId === kStruct && children.some((child) => child.length < length)) return 'has fields of other lengths';
  if (type.typeId === kFixedSizeList && children[0]!.length < length * (type.stride ?? 1))
    return 'has lists of other lengths';
  return children.map(faultOf).find((why) => why !== undefined);
}
