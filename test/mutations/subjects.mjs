// The files that are damaged: models of several families, adapters, tokenizers and data, each as heed writes or reads it.
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { Engine, LanguageModel, modelConfig } from '../../dist/lib/index.js';
import { countWords, toTokenizerJson, trainBpe } from '../../dist/lib/tokenizer/bpe.js';
import { damageBytes, damageCompressed, damageJsonText, damageLines, damageSafetensors } from './mutate.mjs';

const families = ['llama', 'gpt2', 'gpt_neox', 'gemma3_text', 'qwen2'];
const tables = new URL('../fixtures/tables/', import.meta.url);

const rows = [
  { prompt: 'Say cat:', response: ' cat' },
  { prompt: 'Say dog:', responses: [' dog', ' no'], ranks: [0, 1] },
  { prompt: 'Say owl: 🦉', chosen: ' owl', rejected: ' cat' },
  { messages: [{ role: 'user', content: 'Say é' }, { role: 'assistant', content: 'é' }] },
  { conversations: [{ from: 'human', value: 'Say x' }, { from: 'gpt', value: 'x' }] },
  { instruction: 'Repeat', input: 'moon', output: 'moon' },
  { prompt: 'Say', tokens: [5, 6, 7] },
  { text: 'a document' },
]; // biome-ignore format: a table
const csv = 'prompt,response\n"Say ""cat"":", cat\nSay dog:, dog\n"two\nlines",owl\n';

function writeTokenizer(dir, text) {
  const counts = new Map();
  countWords(text.repeat(3), counts);
  mkdirSync(dir);
  const tokenizer = toTokenizerJson(trainBpe(counts, { vocabSize: 300, minFrequency: 2 }));
  const config = {
    bos_token: '<|endoftext|>',
    eos_token: { content: '<|endoftext|>' },
    pad_token: '<|pad|>',
    add_bos_token: false,
    model_max_length: 256,
    chat_template:
      "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
  };
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config));
}

/**
 * Writes the files as they should be into `dir`.
 *
 * @returns per subject: the file, how it is damaged, the arguments of `heed score` for a copy of it in the folder `at`, and the files
 *   that a message may name: its own, and those that its contents contradict
 */
export async function makeSubjects(dir) {
  const engine = await Engine.create({ threads: 1, maxTokens: 64 });
  const subjects = [];
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeTokenizer(join(dir, 'tokenizer'), lines);
  writeFileSync(join(dir, 'rows.jsonl'), lines);
  const data = join(dir, 'rows.jsonl');
  const base = join(dir, 'llama');
  for (const family of families) {
    const model = await LanguageModel.init(
      engine,
      modelConfig(family, { numLayers: 1, numHeads: 2, channels: 16, vocabSize: 300, maxPositions: 256 }),
      { seed: 1 },
    );
    const folder = join(dir, family);
    await model.save(folder, { tokenizerFrom: join(dir, 'tokenizer') });
    const add = (name, damage, mayName) =>
      subjects.push({
        label: `${family}/${name}`,
        path: join(folder, name),
        damage,
        mayName: [name, ...mayName],
        args: (at) => ['--model', at, '--data', data],
        prepare: (at) => cpSync(folder, at, { recursive: true }),
        name,
      });
    add('config.json', damageJsonText, ['model.safetensors', 'tokenizer.json', 'rows.jsonl']);
    add('model.safetensors', damageSafetensors, ['config.json']);
    if (family === 'llama') add('tokenizer.json', damageJsonText, ['rows.jsonl', 'tokenizer_config.json']);
    if (family === 'llama') {
      add('tokenizer_config.json', damageJsonText, ['tokenizer.json', 'rows.jsonl']);
      const adapter = await model.adapter({ rank: 2, seed: 1 });
      const own = join(dir, 'adapter');
      await adapter.save(own);
      await adapter.dispose();
      for (const [name, damage] of Object.entries({
        'adapter_config.json': damageJsonText,
        'adapter_model.safetensors': damageSafetensors,
      })) {
        subjects.push({
          label: `adapter/${name}`,
          path: join(own, name),
          damage,
          mayName: ['adapter_config.json', 'adapter_model.safetensors', 'llama'],
          args: (at) => ['--model', base, '--adapter', at, '--data', data],
          prepare: (at) => cpSync(own, at, { recursive: true }),
          name,
        });
      }
    }
    await model.dispose();
  }
  await engine.dispose();

  const gzip = damageCompressed(gzipSync, gunzipSync, damageLines);
  const files = {
    'rows.jsonl': [lines, damageLines],
    'rows.json': [JSON.stringify(rows, null, 1), damageJsonText],
    'rows.csv': [csv, damageBytes],
    'rows.jsonl.gz': [gzipSync(lines), gzip],
    'lines.jsonl.zst': [readFileSync(new URL('lines.jsonl.zst', tables)), damageBytes],
    'data.arrow': [readFileSync(new URL('saved/test/data-00000-of-00001.arrow', tables)), damageBytes],
  };
  for (const codec of ['snappy', 'zstd', 'gzip', 'brotli'])
    files[`${codec}.parquet`] = [readFileSync(new URL(`${codec}.parquet`, tables)), damageBytes];
  mkdirSync(join(dir, 'data'));
  for (const [name, [content, damage]] of Object.entries(files)) {
    const path = join(dir, 'data', name);
    writeFileSync(path, content);
    subjects.push({
      label: `data/${name}`,
      path,
      damage,
      mayName: [name],
      args: (at) => ['--model', base, '--data', join(at, name)],
      prepare(at) {
        mkdirSync(at);
        copyFileSync(path, join(at, name));
      },
      name,
    });
  }
  return subjects;
}
