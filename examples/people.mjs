// Rewrites published labels of people, and the released outputs of InstructGPT's models, as rows that heed eval and heed reward read:
//
//   node examples/people.mjs DATA OUT
//
// DATA has the folders preferences and eval of docs/evaluation.md. Every row of OUT/*-labels.jsonl is one person's ranking.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { scorerPairs } from 'heed';

const [data, out] = process.argv.slice(2);
if (!out) throw new Error('usage: node examples/people.mjs DATA OUT');
mkdirSync(out, { recursive: true });
const read = (name) =>
  gunzipSync(readFileSync(join(data, `${name}.jsonl.gz`)))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const write = (name, rows) => {
  writeFileSync(join(out, `${name}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  process.stderr.write(`${name}.jsonl: ${rows.length} rows\n`);
};
/** Of two responses: 1 or 2 for the better one, 0 for a tie. */
const ranks = { 1: [0, 1], 2: [1, 0], 0: [0, 0] };

// Tülu 1: labels from +2, the first is better, to -2; labelers by name.
write(
  'tulu-labels',
  read('preferences/tulu_human_pairs_labeled').flatMap((row) =>
    row.labels.map((label, l) => ({
      prompt: row.prompt,
      responses: [row.response_1, row.response_2],
      models: [row.model_1, row.model_2],
      ranks: ranks[label > 0 ? 1 : label < 0 ? 2 : 0],
      labeler: row.labelers[l],
    })),
  ),
);

// PandaLM: three labelers, whose identity between rows is not known.
write(
  'pandalm-labels',
  read('preferences/pandalm_human_pairs_3labelers').flatMap((row) =>
    row.labels.map((label, l) => ({
      prompt: row.input ? `${row.instruction}\n\n${row.input}` : row.instruction,
      responses: [row.response_1, row.response_2],
      models: [row.model_1, row.model_2],
      ranks: ranks[label],
      labeler: `annotator ${l + 1}`,
    })),
  ),
);

// Endings of stories: three workers of many, by identifier.
write(
  'endings-labels',
  read('preferences/scratchplot_ending_pairs_3labelers').flatMap((row) =>
    row.labels.map((label, l) => ({
      prompt: `An ending of story ${row.plan_id}:`,
      responses: [` ${row.ending_1.trim()}`, ` ${row.ending_2.trim()}`],
      models: [row.system_1, row.system_2],
      ranks: ranks[label],
      labeler: row.workers[l].slice(0, 6),
    })),
  ),
);

// DExperts: short continuations of GPT-2's size. Labelers are only known within a row; what they were asked for is the group. Prompts
// are dealt: a half for a gold reward model, a quarter for each of two proxies.
const dexperts = read('preferences/dexperts_human_pairs_3labelers');
const place = (text) => [...text].reduce((h, c) => (h * 31 + c.codePointAt(0)) % 65521, 7);
const labelled = (row) =>
  row.labels_goal.map((label, l) => ({
    prompt: row.prompt,
    responses: [row.response_1, row.response_2].map((text) => (/^\s/.test(text) ? text : ` ${text}`)),
    models: [row.system_1, row.system_2],
    ranks: ranks[label],
    labeler: `${row.goal} ${l + 1}`,
    group: row.goal,
    category: row.goal,
  }));
write('dexperts-labels', dexperts.flatMap(labelled));
for (const goal of ['more_positive', 'more_negative']) {
  const rows = dexperts.filter((row) => row.goal === goal);
  write(`${goal}-train`, rows.filter(({ prompt }) => place(prompt) % 5 !== 0).flatMap(labelled));
  write(`${goal}-test`, rows.filter(({ prompt }) => place(prompt) % 5 === 0).flatMap(labelled));
}
const positive = dexperts.filter(({ goal }) => goal === 'more_positive');
for (const [name, of] of Object.entries({ gold: [0, 1], 'proxy-a': [2], 'proxy-b': [3] }))
  write(`positive-${name}`, positive.filter(({ prompt }) => of.includes(place(prompt) % 4)).flatMap(labelled));
const prompts = [...new Set(dexperts.map(({ prompt }) => prompt))].filter((prompt) => prompt.length < 120);
write(
  'prompts',
  prompts.map((prompt) => ({ prompt })),
);

// The released outputs of the paper's twelve models. A prompt is asked in several forms: the form is the category.
const outputs = (name, referenced) => {
  const seen = new Set();
  const rows = read(`eval/instructgpt_samples_${name}`).filter(({ context, prompt_type }) => {
    const key = `${prompt_type}\n${context}`;
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
  const prompt = (row) => `${row.prompt_type}: ${row.context}`;
  write(
    `${name}-outputs`,
    rows.flatMap((row) =>
      Object.entries(row.samples).map(([model, { text }]) => ({
        prompt: prompt(row),
        model,
        response: text,
        category: row.prompt_type,
      })),
    ),
  );
  if (referenced)
    write(
      `${name}-questions`,
      rows.map((row) => ({
        prompt: prompt(row),
        ref: row.ref,
        style: name === 'drop' ? 'drop' : 'squad',
        category: row.prompt_type,
      })),
    );
  return rows.map((row) => ({ ...row, prompt: prompt(row) }));
};
outputs('squadv2', true);
outputs('drop', true);
outputs('real_toxicity', false);
// Judges whose scores were released with the outputs: a module that looks them up.
const truthful = outputs('truthful_qa', false);
for (const score of ['true', 'info']) {
  const found = Object.fromEntries(
    truthful.map(({ prompt, samples }) => [
      prompt,
      Object.fromEntries(Object.values(samples).map((sample) => [sample.text, sample[score]])),
    ]),
  );
  writeFileSync(
    join(out, `judge-${score}.mjs`),
    `// GPT-judge's probability that an answer is ${score === 'true' ? 'true' : 'informative'}, as released\nconst found = ${JSON.stringify(found)};\nexport default (answers) => answers.map(({ prompt, response }) => found[prompt]?.[response] ?? null);\n`,
  );
}

// A scorer of toxicity: tweets by the majority of their labelers; a fifth of them is for calibration and its test.
const tweets = read('eval/hate_offensive_tweets_labeled').map(({ text, label }) => ({
  text: text
    .replace(/&amp;/g, '&')
    .replace(/https?:\S+/g, '')
    .trim(),
  label,
}));
const isTest = ({ text }) => place(text) % 5 === 0;
write('tweets-test', tweets.filter(isTest));
write(
  'tweets-pairs',
  scorerPairs(
    tweets.filter((row) => !isTest(row)).map(({ text, label }) => ({ text, toxic: label !== 'neither' })),
    { perText: 2 },
  ),
);
