import { describe, expect, test } from '@jest/globals';
import { refuseForeign } from '../../lib/core/foreign.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');

describe('a file of another format is named', () => {
  test.each([
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:1\n'],
    ['an HTML page', '\n<!DOCTYPE html><html>'],
    ['an HTML page', '<html lang="en">'],
    ['a zip archive, as PyTorch writes checkpoints', 'PK\x03\x04\0\0'],
    ['a Python pickle', '\x80\x02}q\0.'],
    ['a Python pickle', '\x80\x04\x95\x10\0\0\0\0\0\0\0'],
    ['a GGUF file', 'GGUF\x03\0\0\0'],
    ['a Parquet file', 'PAR1\x15\x04'],
    ['a gzip file', '\x1f\x8b\x08'],
    ['a zstd file', '\x28\xb5\x2f\xfd'],
    ['a safetensors file', '\x48\0\0\0\0\0\0\0{"a":{}}'],
  ])('%s', (name, content) => {
    expect(() => refuseForeign(bytes(content), 'f', 'a letter')).toThrow(`f: is ${name}, expected a letter`);
    expect(() => refuseForeign(bytes(content), 'f', name)).not.toThrow();
    expect(() => refuseForeign(bytes(content), 'f', 'a letter', [name])).not.toThrow();
  });

  test.each(['', '{"a":1}', 'version 1', '\x80', '\x80abc', 'PK', 'plain text', '\xff\xfe\0\0'])(
    '%j is not',
    (content) => {
      expect(() => refuseForeign(bytes(content), 'f', 'a letter')).not.toThrow();
    },
  );
});
