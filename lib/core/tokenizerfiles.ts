import { existsSync } from 'node:fs';
import { join } from 'node:path';

export const kChatTemplate = 'chat_template.jinja';

/** The files of a tokenizer in a Hugging Face folder; only `tokenizer.json` is required. */
export const kTokenizerFiles: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  kChatTemplate,
  'vocab.json',
  'merges.txt',
];

/** The default one of several chat templates; a copy has it as `chat_template.jinja`. */
export const kDefaultTemplate = 'chat_templates/default.jinja';

/** The tokenizer's files in a folder, and the names that copies of them have. */
export function tokenizerFilesIn(dir: string): { readonly path: string; readonly name: string }[] {
  const files = kTokenizerFiles.map((name) => ({ path: join(dir, name), name }));
  const found = files.filter(({ path }) => existsSync(path));
  const template = join(dir, kDefaultTemplate);
  if (!found.some(({ name }) => name === kChatTemplate) && existsSync(template))
    found.push({ path: template, name: kChatTemplate });
  return found;
}
