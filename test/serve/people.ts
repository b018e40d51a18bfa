/** People who use a service and judge its answers, over HTTP. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { TrainingOptions } from '../../lib/serve/index.js';
import { ask } from '../http/ask.js';

export const headers = { authorization: 'Bearer key' };
export const training: TrainingOptions = {
  when: 'continuous',
  every: 40,
  leastHeldOut: 8,
  learningRate: 5e-3,
  epochs: 4,
  batchSize: 16,
  loraR: 4,
};
export const post = (url: string, body: object) => ask(url, { body, headers });
export const versionsOf = async (url: string) => (await ask(`${url}/admin/versions`, { headers })).json();

/** Answers to many prompts, and what `judge` says of each. */
export async function collect(
  url: string,
  count: number,
  judge: (text: string, i: number) => boolean,
  prompts = count,
  temperature = 1.5,
) {
  await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const answer = await post(`${url}/v1/completions`, {
        prompt: `User: Question ${i % prompts}?\nAssistant:`,
        max_tokens: 1,
        seed: i,
        temperature,
      });
      const { id, choices } = answer.json();
      expect((await post(`${url}/feedback`, { id, thumb: judge(choices[0].text, i) })).status).toBe(200);
    }),
  );
}

export async function trained(url: string) {
  for (;;) {
    const found = await versionsOf(url);
    if (found.training !== 'training') return found;
    await sleep(20);
  }
}

/** Four answers to each of many prompts, one prompt after the other so that they are numbered alike each time, and their ranks. */
export async function collectRankings(
  url: string,
  count: number,
  rankOf: (text: string, prompt: number, answer: number) => number,
  subject = 'Question',
) {
  for (let i = 0; i < count; i++) {
    const prompt = `User: ${subject} ${i}?\nAssistant:`;
    const body = { prompt, max_tokens: 1, seed: i, temperature: 1.5, n: 4 };
    const { id, choices } = (await post(`${url}/v1/completions`, body)).json();
    const ranking = choices.map(({ text, index }: { text: string; index: number }) => ({
      id,
      index,
      rank: rankOf(text, i, index),
    }));
    expect((await post(`${url}/feedback`, { ranking })).status).toBe(200);
  }
}

/** The opinion that people have in tests: they like answers whose first letter is in one half of the alphabet. */
export const isLiked = (text: string): boolean => /^ ?[a-m]/i.test(text);

/** How many of 128 answers, to eight prompts, they like. */
export async function countLiked(url: string): Promise<number> {
  const prompt = Array.from({ length: 8 }, (_, i) => `User: Question ${7 * i}?\nAssistant:`);
  const { choices } = (await post(`${url}/v1/completions`, { prompt, max_tokens: 1, seed: 1, n: 16 })).json();
  return choices.filter(({ text }: { text: string }) => isLiked(text)).length;
}
