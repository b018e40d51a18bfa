// A trained model of llama2.c: its greedy text is the one that llama2.c's own tests expect.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from '@jest/globals';
import { Engine } from '../../lib/runtime/engine.js';
import { LanguageModel } from '../../lib/runtime/model.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';

const models = join(process.env.HEED_DATA ?? '', 'models'); // of a folder with data that is not part of the project
const files = ['stories260K.bin', 'tok512.bin'].map((name) => join(models, name));
const isThere = files.every((file) => existsSync(file)) && existsSync('dist/lib/index.js');

const story = `Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she`;

const name = 'stories260K tells its story, prompted or not';
(isThere ? test : test.skip)(isThere ? name : `${name} (${files.join(' or ')} is missing: set HEED_DATA)`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'heed-stories-'));
  const engine = await Engine.create({ threads: 2 });
  try {
    execFileSync(process.execPath, [resolve('scripts/llama2c.mjs'), ...files, folder]);
    const model = await LanguageModel.load(engine, folder);
    const tokenizer = await Tokenizer.load(folder);
    const begun = await tokenizer.encode('Once upon a time, there was');
    const prompts = [tokenizer.prefix, Int32Array.of(...tokenizer.prefix, ...begun)];
    const completions = await model.generate(
      prompts.map((prompt) => ({ prompt, seed: 0 })),
      { maxNewTokens: 200, temperature: 0, stopTokens: [tokenizer.endOfText] },
    );
    const texts = completions.map(({ tokens }, i) => tokenizer.decode([...prompts[i]!, ...tokens]));
    expect(texts[0]).toBe(story);
    expect(texts[1]!.startsWith(story)).toBe(true);
  } finally {
    await engine.dispose();
    rmSync(folder, { recursive: true });
  }
});
