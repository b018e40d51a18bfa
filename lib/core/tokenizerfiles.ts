/** The files that a tokenizer may have in a Hugging Face folder; `tokenizer.json` is the one it must. */
export const kTokenizerFiles: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
];
