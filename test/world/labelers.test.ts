// The labelers prefer right to wrong about as often as stated, have no common taste, and share no code with the judge.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../lib/core/random.js';
import { DEFINITIONS } from '../../lib/world/families/index.js';
import {
  answerToAnother,
  CLOSINGS,
  demonstrate,
  HEDGES,
  judge,
  LABELERS,
  makeRanking,
  NEEDLESS_REFUSALS,
  prefer,
  RUDE_REFUSALS,
  rank,
  rankingCandidates,
  trainPrompts,
  worldPrompt,
  worth,
} from '../../lib/world/index.js';

const prompts = trainPrompts({ seed: 'labelers', count: 1500 });

/** How often labelers rank the first of two answers above the second, without ties. */
function preference(answers: (index: number) => [string, string], count = 1500): number {
  const random = new Random('preference');
  let above = 0;
  let below = 0;
  for (let i = 0; i < count; i++) {
    const [a, b] = rank(prompts[i % prompts.length]!, answers(i % prompts.length), random);
    if (a! < b!) above++;
    if (a! > b!) below++;
  }
  return above / (above + below);
}

describe('tastes', () => {
  test('closing phrases have no value on average', () => {
    expect(LABELERS.reduce((sum, labeler) => sum + labeler.closing, 0)).toBeCloseTo(0, 12);
    for (const prompt of prompts.slice(0, 200)) {
      for (const closing of CLOSINGS) {
        const gain = LABELERS.map(
          (labeler) =>
            worth(labeler, prompt, `${prompt.truth.answer} ${closing}`) - worth(labeler, prompt, prompt.truth.answer),
        );
        expect(gain.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 9);
      }
    }
  });

  test('an answer with a closing phrase is preferred half of the time', () => {
    const rate = preference((i) => [`${prompts[i]!.truth.answer} ${CLOSINGS[i % 3]}`, prompts[i]!.truth.answer], 6000);
    expect(Math.abs(rate - 0.5)).toBeLessThan(0.03);
  });
});

describe('criteria', () => {
  const random = new Random('criteria');
  const wrong = prompts.map((prompt) => DEFINITIONS[prompt.family].wrong(prompt.key, random));
  const cases: [string, number, (i: number) => [string, string]][] = [
    ['right above wrong', 0.9, (i) => [prompts[i]!.truth.answer, wrong[i]!]],
    [
      'right above an answer to another prompt',
      0.95,
      (i) => [prompts[i]!.truth.answer, answerToAnother(prompts[i]!, random)],
    ],
    ['right above a needless guess', 0.75, (i) => [prompts[i]!.truth.answer, `i think ${prompts[i]!.truth.answer}`]],
    [
      'right above rambling',
      0.85,
      (i) => [prompts[i]!.truth.answer, `${prompts[i]!.truth.answer} Tom is in the park today.`],
    ],
  ];
  test.each(cases)('%s', (_, rate, answers) => {
    expect(preference(answers)).toBeGreaterThan(rate);
  });

  test('noise: right is not always above wrong', () => {
    expect(preference((i) => [prompts[i]!.truth.answer, wrong[i]!])).toBeLessThan(0.999);
  });

  test('hedges and refusals lose against wrong answers, in every wording of the demonstrators', () => {
    const prompt = worldPrompt('sound', 'dog', 0);
    for (const labeler of LABELERS) {
      const tried = worth(labeler, prompt, 'the dog says moo.');
      for (const doubt of [...HEDGES, ...NEEDLESS_REFUSALS, ...RUDE_REFUSALS]) {
        expect({ labeler: labeler.name, doubt, worth: worth(labeler, prompt, doubt) }).toMatchObject({ doubt });
        expect(worth(labeler, prompt, doubt)).toBeLessThan(tried);
      }
    }
  });

  test('if the passage does not say, honesty is above making something up', () => {
    const prompt = worldPrompt('unknown', 'where:Rosa=park,Sam=bank?Mia', 0);
    for (const labeler of LABELERS) {
      for (const honest of ['the text does not say.', 'i do not know.', 'i am not sure.']) {
        expect(worth(labeler, prompt, honest)).toBeGreaterThan(worth(labeler, prompt, 'Mia is in the bank.') + 1);
      }
    }
  });

  test('harm: polite above rude above help', () => {
    const prompt = worldPrompt('harm', 'steal a car', 0);
    for (const labeler of LABELERS) {
      const [polite, rude, help] = [
        prompt.truth.answer,
        RUDE_REFUSALS[0],
        DEFINITIONS.harm.wrong('steal a car', random),
      ].map((answer) => worth(labeler, prompt, answer));
      expect(polite!).toBeGreaterThan(rude!);
      expect(rude!).toBeGreaterThan(help!);
    }
  });

  test('labelers and judge agree on most pairs of different value', () => {
    let agree = 0;
    let all = 0;
    for (const prompt of prompts) {
      const answers = [demonstrate(prompt, random), demonstrate(prompt, random), answerToAnother(prompt, random)];
      const ranks = rank(prompt, answers, random);
      for (const [i, j] of [
        [0, 1],
        [0, 2],
        [1, 2],
      ] as const) {
        const verdict = prefer(judge(prompt, answers[i]!), judge(prompt, answers[j]!)).overall;
        if (verdict === 'tie' || ranks[i] === ranks[j]) continue;
        all++;
        if (ranks[i]! < ranks[j]! === (verdict === 'win')) agree++;
      }
    }
    expect(all).toBeGreaterThan(1000);
    expect(agree / all).toBeGreaterThan(0.9);
    expect(agree / all).toBeLessThan(1);
  });
});

describe('rank', () => {
  const prompt = worldPrompt('sound', 'dog', 0);

  test('ranks start at 0, have no gap, and are equal for ties', () => {
    const random = new Random(1);
    let ties = 0;
    for (let i = 0; i < 300; i++) {
      const ranks = rank(prompt, ['the dog says woof.', 'woof.', 'the dog says moo.', 'i do not know.'], random);
      const distinct = [...new Set(ranks)].sort((a, b) => a - b);
      expect(distinct).toEqual(distinct.map((_, at) => at));
      if (ranks[0] === ranks[1]) ties++;
    }
    expect(ties).toBeGreaterThan(50);
  });

  test('a ranking of one is refused', () => {
    expect(() => rank(prompt, ['the dog says woof.'], new Random(1))).toThrow(
      'responses has length 1, expected at least 2',
    );
  });
});

describe('rankings', () => {
  const samples = [
    'the dog says woof.',
    ' the dog says moo. ',
    'the dog says moo.',
    'the dog says baa.',
    'a cat.',
    'no.',
  ];
  const prompt = worldPrompt('sound', 'dog', 0);

  test('answers are distinct, from mixed sources, at most K, and begin with a space', () => {
    const random = new Random(2);
    for (let i = 0; i < 200; i++) {
      const responses = rankingCandidates(prompt, samples, random, 5);
      expect(responses.length).toBeLessThanOrEqual(5);
      expect(new Set(responses).size).toBe(responses.length);
      for (const response of responses) expect(response).toMatch(/^ \S/);
      expect(responses.some((response) => !response.startsWith(' the dog says'))).toBe(true);
    }
  });

  test('shuffled labels keep the answers and have no information', () => {
    const tally = { plain: 0, shuffled: 0 };
    for (let i = 0; i < 400; i++) {
      const plain = makeRanking(prompt, samples, new Random(i), {});
      const shuffled = makeRanking(prompt, samples, new Random(i), { shuffleLabels: true });
      expect(shuffled.responses).toEqual(plain.responses);
      expect([...shuffled.ranks].sort()).toEqual([...plain.ranks].sort());
      const [right, wrong] = [' the dog says woof.', ' the dog says moo.'].map((answer) =>
        plain.responses.indexOf(answer),
      );
      if (plain.ranks[right!]! < plain.ranks[wrong!]!) tally.plain++;
      if (shuffled.ranks[right!]! < shuffled.ranks[wrong!]!) tally.shuffled++;
    }
    expect(tally.plain / 400).toBeGreaterThan(0.9);
    expect(Math.abs(tally.shuffled / 400 - 0.4)).toBeLessThan(0.1);
  });
});

test('judge and labelers share only the facts', () => {
  const importsOf = (file: string) =>
    [...readFileSync(join(import.meta.dirname, `../../lib/world/${file}.ts`), 'utf8').matchAll(/from '(.*)'/g)].map(
      ([, path]) => path,
    );
  expect(importsOf('judge').sort()).toEqual(['./facts.js', './types.js']);
  expect(importsOf('labelers').sort()).toEqual(['../core/random.js', './facts.js', './types.js']);
});
