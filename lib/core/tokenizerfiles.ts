/** The files of a tokenizer in a Hugging Face folder; only `tokenizer.json` is required. */
export const kTokenizerFiles: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
];
