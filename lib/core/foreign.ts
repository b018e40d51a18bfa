/** Recognises files of other formats by their first bytes: the name of the format helps more than a parser's error. */
import { DataError } from './errors.js';

interface Format {
  readonly name: string;
  readonly advice?: string;
  readonly is: (text: string, bytes: Uint8Array) => boolean;
}

const starts = (magic: string) => (text: string) => text.startsWith(magic);

const formats: readonly Format[] = [
  {
    name: 'a Git LFS pointer',
    advice: 'run `git lfs pull` to get the file itself',
    is: starts('version https://git-lfs.github.com/spec/'),
  },
  {
    name: 'an HTML page',
    advice: 'the download may have failed or need a login',
    is: (text) => /^\s*(<!doctype html|<html|<\?xml)/i.test(text.replace(/^\u00ef\u00bb\u00bf/, '')),
  },
  {
    name: 'a zip archive, as PyTorch writes checkpoints',
    advice: "save it with safetensors' save_file or transformers' save_pretrained",
    is: starts('PK\x03\x04'),
  },
  {
    name: 'a Python pickle',
    advice: "save it with safetensors' save_file or transformers' save_pretrained",
    is: (text, bytes) => bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5 && /^..[\x8a(}\]\x95c]/s.test(text),
  },
  { name: 'a GGUF file', advice: 'use the Hugging Face folder that it was made from', is: starts('GGUF') },
  { name: 'a Parquet file', is: starts('PAR1') },
  { name: 'a gzip file', is: starts('\x1f\x8b') },
  { name: 'a zstd file', is: starts('\x28\xb5\x2f\xfd') },
  { name: 'a safetensors file', is: (text) => /^.{5}\0{3}\{"/s.test(text) },
];

/** How many bytes of a file {@link refuseForeign} looks at. */
export const kForeignBytes = 64;

/**
 * @param bytes the first {@link kForeignBytes} of the file, or all of a shorter one
 * @param expected what the file should be, for the message
 * @param passing formats that are not refused. Default: the expected one
 * @throws DataError that names the format the file has instead, if it is a known one
 */
export function refuseForeign(
  bytes: Uint8Array,
  file: string,
  expected: string,
  passing: readonly string[] = [expected],
): void {
  const text = Buffer.from(bytes.subarray(0, kForeignBytes)).toString('latin1');
  const found = formats.find(({ is }) => is(text, bytes));
  if (!found || passing.includes(found.name)) return;
  const advice = found.advice === undefined ? '' : `: ${found.advice}`;
  throw new DataError(`is ${found.name}, expected ${expected}${advice}`, { file });
}
