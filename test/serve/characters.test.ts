// Characters that are several tokens, and two code units: no part of a stream cuts one.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { expect, test } from '@jest/globals';
import { streamText as aiStream } from 'ai';
import { ChatTemplate, Frame } from '../../lib/data/index.js';
import { generateText, streamText } from '../../lib/text/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { base, start } from './service.js';
import { taught } from './taught.js';

const said = '😀👍🏽 naïve 𝒳 語🐶';
const isWhole = (text: string) => Buffer.from(text).toString() === text && !text.includes('\ufffd');

test('a stream of characters that are split over tokens, by the library and through the AI SDK', async () => {
  const tokenizer = await Tokenizer.load(base);
  const template = await ChatTemplate.load('plain', tokenizer);
  const frame = new Frame(tokenizer, template);
  const prompt = [{ role: 'user', content: 'Say it.' }];
  const model = await taught(frame, [[frame.promptText(prompt), ` ${said}`]]);
  const tokens = await tokenizer.encode(said);
  expect(tokens.length).toBeGreaterThan([...said].length); // characters are split
  const options = { model, tokenizer, template, prompt, temperature: 0, maxNewTokens: 60 };
  expect(await generateText(options)).toBe(` ${said}`);
  for (const stop of [undefined, ['zz'], ['zzzzz']]) {
    const parts: string[] = [];
    for await (const part of streamText({ ...options, stop })) parts.push(part);
    expect([stop, parts.filter((part) => !isWhole(part)), parts.join('')]).toEqual([stop, [], ` ${said}`]);
    expect(parts.length).toBeGreaterThan(5);
  }
  const { url } = await start({ model, template });
  const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: 'x' });
  const compatible = createOpenAICompatible({ name: 'heed', baseURL: `${url}/v1` });
  for (const each of [openai('base'), openai.chat('base'), compatible('base')])
    for (const stopSequences of [undefined, ['zzz']]) {
      if (stopSequences && each.provider.includes('responses')) continue; // has none
      const parts: string[] = [];
      const asked = { model: each, temperature: 0, maxOutputTokens: 60, maxRetries: 0, prompt: 'Say it.' };
      for await (const part of aiStream({ ...asked, ...(stopSequences ? { stopSequences } : {}) }).textStream)
        parts.push(part);
      expect([parts.filter((part) => !isWhole(part)), parts.join('')]).toEqual([[], said]);
      expect(parts.length).toBeGreaterThan(5);
    }
  await model.dispose();
}, 60_000);
