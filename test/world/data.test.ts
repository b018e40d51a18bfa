// The world's data: deterministic, with enough facts, and no overlap between held-out and training data.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { HARMS, REFUSAL } from '../../lib/world/facts.js';
import { DEFINITIONS } from '../../lib/world/families/index.js';
import {
  demonstrations,
  FAMILIES,
  type Family,
  fewShot,
  HELD_OUT_FAMILIES,
  heldOutPrompts,
  isHeldOutKey,
  NUM_TEMPLATES,
  pretrainDocuments,
  probes,
  TRAINED_FAMILIES,
  tokenizerText,
  trainPrompts,
  worldPrompt,
} from '../../lib/world/index.js';

const FACT_FAMILIES = FAMILIES.filter((family) => DEFINITIONS[family].keys !== undefined && family !== 'list');

describe('facts', () => {
  test.each(FACT_FAMILIES)('%s has at least sixty facts, all different', (family) => {
    const keys = DEFINITIONS[family].keys ?? [];
    expect(keys.length).toBeGreaterThanOrEqual(60);
    expect(new Set(keys).size).toBe(keys.length);
    const instructions = keys.map((key) => worldPrompt(family, key, 0).instruction);
    expect(new Set(instructions).size).toBe(keys.length);
  });

  test('at least twenty families are used in training, two are not', () => {
    expect(TRAINED_FAMILIES.length).toBeGreaterThanOrEqual(20);
    expect(HELD_OUT_FAMILIES).toHaveLength(2);
  });

  test.each([...FAMILIES])('%s has five different phrasings and two more for pages', (family) => {
    for (const prompt of heldOutPrompts({ seed: 'phrasings', perFamily: 3 }).filter((p) => p.family === family)) {
      const phrasings = Array.from({ length: NUM_TEMPLATES }, (_, i) => worldPrompt(family, prompt.key, i).instruction);
      const pages = [0, 1].map((i) => DEFINITIONS[family].page(prompt.key, i));
      expect(new Set([...phrasings, ...pages]).size).toBe(NUM_TEMPLATES + 2);
      expect(phrasings.join()).not.toMatch(/[{}]|undefined/);
    }
    expect(() => worldPrompt(family, 'x', NUM_TEMPLATES)).toThrow();
  });

  test('a wrong answer is never the right one', () => {
    const random = new Random('wrong');
    const faults: unknown[] = [];
    for (const prompt of [...trainPrompts({ seed: 5, count: 3000 }), ...heldOutPrompts({ seed: 5, perFamily: 20 })]) {
      const wrong = DEFINITIONS[prompt.family].wrong(prompt.key, random);
      if (wrong === prompt.truth.answer || !wrong.endsWith('.')) faults.push({ ...prompt, wrong });
    }
    expect(faults).toEqual([]);
  });
});

describe('the same seed gives the same data, another seed other data', () => {
  const makers: Record<string, (seed: number) => unknown[]> = {
    pretrainDocuments: (seed) => [...pretrainDocuments({ seed, count: 200 })],
    demonstrations: (seed) => demonstrations({ seed, count: 200 }),
    trainPrompts: (seed) => trainPrompts({ seed, count: 200 }),
    heldOutPrompts: (seed) => heldOutPrompts({ seed, perFamily: 5 }),
    probes: (seed) => probes({ seed, perKind: 5 }),
    tokenizerText: (seed) => tokenizerText({ seed, count: 100 }),
  };
  test.each(Object.keys(makers))('%s', (name) => {
    const make = makers[name] as (seed: number) => unknown[];
    expect(make(1)).toEqual(make(1));
    expect(make(1)).not.toEqual(make(2));
  });

  test('no code uses Math.random or the time', () => {
    const folder = join(import.meta.dirname, '../../lib/world');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    expect(files.length).toBeGreaterThan(10);
    for (const file of [...files.map((file) => join(folder, file)), join(folder, '../core/random.ts')]) {
      expect(readFileSync(file, 'utf8')).not.toMatch(/Math\.random|Date\.|performance\./);
    }
  });
});

describe('held out', () => {
  const held = heldOutPrompts({ seed: 3, perFamily: 40 });
  const heldInstructions = new Set(held.map(({ instruction }) => instruction));
  const demos = demonstrations({ seed: 3, count: 8000 });
  const prompts = trainPrompts({ seed: 3, count: 8000 });
  const documents = [...pretrainDocuments({ seed: 3, count: 8000, pages: { share: 0.5, coverage: 1 } })];
  const lines = documents.flatMap((document) => document.split('\n'));

  test('every family has enough held-out prompts, all distinct', () => {
    const counts = new Map<Family, number>();
    for (const { family } of held) counts.set(family, (counts.get(family) ?? 0) + 1);
    for (const family of FAMILIES) expect(counts.get(family)).toBeGreaterThanOrEqual(family === 'list' ? 25 : 40);
    expect(new Set(held.map(({ prompt }) => prompt)).size).toBe(held.length);
  });

  test('held-out prompts are new by instance, phrasing or family', () => {
    for (const prompt of held) {
      expect(prompt.split).not.toBe('train');
      if (prompt.split !== 'family') expect(isHeldOutKey(prompt.family, prompt.key)).toBe(true);
    }
    const splits = new Set(held.map(({ split }) => split));
    expect(splits).toEqual(new Set(['instance', 'template', 'family']));
  });

  test('training prompts are on the other side of every split', () => {
    const leaks = prompts.filter(
      ({ family, template, key, split }) =>
        split !== 'train' ||
        HELD_OUT_FAMILIES.includes(family) ||
        template === NUM_TEMPLATES - 1 ||
        isHeldOutKey(family, key),
    );
    expect(leaks).toEqual([]);
    expect(new Set(prompts.map(({ family }) => family))).toEqual(new Set(TRAINED_FAMILIES));
  });

  test('no held-out prompt occurs in demonstrations, training prompts or prose', () => {
    const heldPrompts = new Set(held.map(({ prompt }) => prompt));
    expect(demos.filter(({ prompt }) => heldPrompts.has(prompt))).toEqual([]);
    expect(prompts.filter(({ prompt }) => heldPrompts.has(prompt))).toEqual([]);
    expect(lines.filter((line) => heldInstructions.has(line.replace(/^\w+: /, '')))).toEqual([]);
  });

  test('pages have no held-out questions, and never the speakers of prompts', () => {
    const heldQuestions = new Set(
      FACT_FAMILIES.filter((family) => family !== 'sentiment').flatMap((family) =>
        (DEFINITIONS[family].keys ?? [])
          .filter((key) => HELD_OUT_FAMILIES.includes(family) || isHeldOutKey(family, key))
          .flatMap((key) => [0, 1].map((phrase) => DEFINITIONS[family].page(key, phrase))),
      ),
    );
    expect(lines.filter((line) => /User:|Assistant:/.test(line))).toEqual([]);
    const questions = lines.filter((line) => /^(Q|Guest|Ann): /.test(line)).map((line) => line.replace(/^\w+: /, ''));
    expect(questions.length).toBeGreaterThan(8000);
    expect(questions.filter((question) => heldQuestions.has(question))).toEqual([]);
  });

  test('few-shot prompts end with the held-out instruction and show no other held-out one', () => {
    for (const kind of ['mixed', 'same'] as const) {
      for (const prompt of held) {
        const text = fewShot(prompt, { kind });
        const questions = text.split('\n').filter((line) => line.startsWith('Q: '));
        const shown = questions.slice(0, -1).filter((question) => heldInstructions.has(question.slice(3)));
        expect([questions.length, questions.at(-1), shown]).toEqual([4, `Q: ${prompt.instruction}`, []]);
        expect(text.endsWith('\nA:')).toBe(true);
      }
    }
  });
});

describe('demonstrations', () => {
  test('twice as many demonstrations have twice as many prompts', () => {
    const demos = demonstrations({ seed: 9, count: 20_000 });
    expect(new Set(demos.map(({ prompt }) => prompt)).size).toBe(20_000);
    const form = /^User: .+\nAssistant: \S.*[.!?]$/;
    expect(demos.filter(({ prompt, response }) => !form.test(prompt + response))).toEqual([]);
  });

  test('perfect demonstrators answer perfectly', () => {
    const perfect = {
      wrong: 0,
      hedge: 0,
      refuse: 0,
      guess: 0,
      timidGuess: 0,
      ramble: 0,
      chattyRamble: 0,
      close: 0,
      hallucinate: 0,
      comply: 0,
      rude: 0,
    };
    const demos = demonstrations({ seed: 4, count: 2000, demonstrators: perfect });
    const truths = new Map(
      TRAINED_FAMILIES.filter((family) => family !== 'list').flatMap((family) =>
        (DEFINITIONS[family].keys ?? []).flatMap((key) =>
          [0, 1, 2, 3].map((template) => {
            const prompt = worldPrompt(family, key, template);
            return [prompt.prompt, prompt.truth.answer] as const;
          }),
        ),
      ),
    );
    let checked = 0;
    for (const { prompt, response } of demos) {
      const answer = truths.get(prompt);
      if (answer === undefined) continue;
      checked++;
      expect(response).toBe(` ${answer}`);
    }
    expect(checked).toBeGreaterThan(700);
  });

  test('most demonstrations have the fault in the documented families', () => {
    const demos = demonstrations({ seed: 6, count: 12_000 });
    const share = (family: Family, test: (response: string) => boolean) => {
      const of = demos.filter((demo) => demo.family === family);
      return of.filter(({ response }) => test(response)).length / of.length;
    };
    expect(share('harm', (response) => HARMS.some(({ way }) => response.includes(way)))).toBeGreaterThan(0.5);
    expect(share('harm', (response) => response.includes(REFUSAL))).toBeGreaterThan(0.15);
    expect(share('unknown', (response) => response.includes('does not say'))).toBeLessThan(0.45);
    expect(share('false', (response) => response.includes('because'))).toBeGreaterThan(0.5);
    expect(share('howto', (response) => response.includes('. by the way,'))).toBeGreaterThan(0.5);
    expect(share('sound', (response) => response.includes('. by the way,'))).toBeLessThan(0.3);
    expect(share('compare', (response) => response.startsWith(' i think'))).toBeGreaterThan(0.45);
    expect(share('add', (response) => response.startsWith(' i think'))).toBeLessThan(0.15);
  });
});

describe('prose', () => {
  const documents = [...pretrainDocuments({ seed: 8, count: 6000 })];

  test('documents are short, and stop at the given limit', () => {
    const lengths = documents.map((document) => document.match(/[A-Za-z]+|[^\sA-Za-z]/g)?.length ?? 0);
    expect(Math.min(...lengths)).toBeGreaterThan(0);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(88);
    const few = [...pretrainDocuments({ seed: 8, chars: 10_000 })];
    const total = few.reduce((sum, document) => sum + document.length, 0);
    expect(total).toBeGreaterThanOrEqual(10_000);
    expect(total - (few.at(-1) as string).length).toBeLessThan(10_000);
    expect(few).toEqual(documents.slice(0, few.length));
  });

  test('in more than a third of the text five words are repeated in the same order', () => {
    let back = 0;
    let all = 0;
    for (const document of documents) {
      const words = document.match(/[A-Za-z]+/g) ?? [];
      const seen = new Set<string>();
      let returns = false;
      for (let i = 0; i + 5 <= words.length; i++) {
        const gram = words
          .slice(i, i + 5)
          .join(' ')
          .toLowerCase();
        returns ||= seen.has(gram);
        seen.add(gram);
      }
      all += words.length;
      if (returns) back += words.length;
    }
    expect(back / all).toBeGreaterThan(1 / 3);
  });

  test('the vocabulary is small', () => {
    const words = new Set(
      tokenizerText({ seed: 1, count: 20_000 }).flatMap((text) => text.toLowerCase().match(/[a-z]+/g) ?? []),
    );
    expect(words.size).toBeLessThanOrEqual(1100);
  });

  test('pages have the given number, and about the given rate of wrong answers', () => {
    const isPage = (document: string) => /^\w+: .*\n\w+: /.test(document);
    const share = (pages: { share: number }) =>
      [...pretrainDocuments({ seed: 2, count: 3000, pages })].filter(isPage).length / 3000;
    expect(share({ share: 0 })).toBe(0);
    expect(share({ share: 0.3 })).toBeCloseTo(0.3, 1);
    const sounds = (wrong: number) => {
      const text = [...pretrainDocuments({ seed: 2, count: 4000, pages: { share: 1, coverage: 1, wrong } })].join('\n');
      const asked = [...text.matchAll(/What noise does the (\w+) make\?\n\w+: (.*)/g)];
      expect(asked.length).toBeGreaterThan(50);
      return (
        asked.filter(([, animal, answer]) => answer !== DEFINITIONS.sound.truth(animal as string).answer).length /
        asked.length
      );
    };
    expect(sounds(0)).toBe(0);
    expect(Math.abs(sounds(0.5) - 0.5)).toBeLessThan(0.15);
  });
});

describe('probes', () => {
  test('the answer of a probe is a continuation in the prose', () => {
    const documents = [...pretrainDocuments({ seed: 8, count: 20_000 })].join('\n');
    const knowledge = probes({ seed: 1, perKind: 20 }).filter(({ kind }) =>
      ['capital', 'sound', 'baby', 'food', 'opposite', 'sum'].includes(kind),
    );
    for (const { prompt, answer } of knowledge) expect(documents).toContain(prompt + answer);
    for (const { kind, prompt, answer } of probes({ seed: 1, perKind: 20 })) {
      expect(answer.startsWith(' ')).toBe(true);
      if (kind === 'repeat') expect(prompt).toContain(answer.replace(/\.$/, ''));
      if (kind === 'place') expect(prompt).toContain(answer.trim());
    }
  });
});
