import { tokenizerFields, type Values } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { requireReplaceable, writeFolder, writeText } from '../core/files.js';
import { kPortion, Pace } from '../core/pace.js';
import { streamAllTexts } from '../data/texts.js';
import { bpeSteps, countWords, END_OF_TEXT, PAD, toTokenizerJson } from '../tokenizer/bpe.js';
import { partsOf } from '../tokenizer/words.js';
import type { Command, Context } from './command.js';
import { thousands } from './training.js';

export const tokenizer: Command<typeof tokenizerFields> = {
  name: 'tokenizer',
  summary: 'train a byte-level BPE tokenizer',
  about: `Writes tokenizer.json in Hugging Face's format: GPT-2's word splitting and byte-level BPE, which represents every text exactly, with
${END_OF_TEXT} as id 0 and ${PAD} as id 1.`,
  fields: tokenizerFields,
  required: ['data', 'out'],
  examples: [
    ['from books', 'heed tokenizer --data books.txt.gz --vocab-size 4096 --out tokenizer'],
    [
      'from everything a model will see',
      'heed tokenizer --data corpus.jsonl.gz demos.jsonl --vocab-size 2048 --out tokenizer',
    ],
  ],
  trains: false,
  run,
};

const isOurs = (name: string) => name === 'tokenizer.json' || name === 'tokenizer_config.json';

async function run(
  { data, out, vocabSize, minFrequency }: Values<typeof tokenizerFields>,
  { signal, log }: Context,
): Promise<void> {
  await requireReplaceable(out!, isOurs);
  const counts = new Map<string, number>();
  let characters = 0;
  const reading = log.stage('reading', data!.length, 'files');
  const pace = new Pace(signal);
  for (const [i, file] of data!.entries()) {
    for await (const text of streamAllTexts(file, { signal })) {
      for (const part of partsOf(text, kPortion)) {
        countWords(part, counts);
        await pace.add(part.length);
      }
      characters += text.length;
    }
    reading.update(i + 1);
  }
  reading.end();
  if (counts.size === 0)
    throw new HeedError('ERR_INVALID_ARGUMENT', 'the data has no text, expected at least one word');
  log.line(`${thousands(characters)} characters, ${thousands(counts.size)} different words`);
  const merging = log.stage('merging', vocabSize, 'tokens');
  const steps = bpeSteps(counts, { vocabSize, minFrequency, onProgress: (tokens) => merging.update(tokens) });
  let step = steps.next();
  const merges = new Pace(signal, 4096);
  for (; !step.done; step = steps.next()) await merges.add(step.value);
  const vocabulary = step.value;
  merging.end();
  const found = vocabulary.tokens.length;
  await writeFolder(out!, isOurs, async (dir) => {
    await writeText(dir, 'tokenizer.json', `${JSON.stringify(toTokenizerJson(vocabulary), null, 1)}\n`);
    const config = {
      tokenizer_class: 'PreTrainedTokenizerFast',
      eos_token: END_OF_TEXT,
      pad_token: PAD,
      clean_up_tokenization_spaces: false,
    };
    await writeText(dir, 'tokenizer_config.json', `${JSON.stringify(config, null, 1)}\n`);
  });
  const fewer = found < vocabSize ? ` (no other pair occurs ${minFrequency} times)` : '';
  log.line(`${out}: ${thousands(found)} tokens${fewer}`);
}
