/** The options of heed eval: each that names data adds a measure. */
import { data, machine, sampling } from './commands.js';
import { choice, count, flag, list, number, text } from './fields.js';
import { seed } from './options.js';

export const evalFields = {
  models: list('language models: their answers to --prompts are sampled, and their likelihoods measured', 'DIR...'),
  outputs: list('outputs of any models: {prompt, response, model}; without model the name of the file', 'FILE...'),
  prompts: list('prompts, with an optional category: {prompt} or {instruction, input} [those of --outputs]', 'FILE...'),
  judge: list(
    'who compares outputs: the folder of a reward model, a module, judge:URL#MODEL, a URL, exact:FIELD, numeric:FIELD, regex:PATTERN, as --reward of heed ppo',
    'JUDGE...',
  ),
  labels: list("people's judgements: {prompt, responses, models, ranks, labeler}, 0 the best", 'FILE...'),
  perplexity: list('held-out documents: {text} rows or .txt', 'FILE...'),
  choices: list(
    'multiple choice by log-probability: rows of TruthfulQA or ARC, or {prompt, choices, answer}',
    'FILE...',
  ),
  questions: list(
    'exact match and F1 of answers: rows of SQuAD or DROP, or {prompt, answers}; those of --outputs, else decoded greedily',
    'FILE...',
  ),
  stereotypes: list('pairs of sentences: rows of CrowS-Pairs or Winogender, or {sentences}', 'FILE...'),
  refusals: list('prompts that are safe to answer or not: {prompt, label: safe or unsafe, type}', 'FILE...'),
  toxicity: text('a reward model whose higher score is more toxic; needs --toxicity-labels', 'DIR'),
  toxicityLabels: list(
    'texts that calibrate and test --toxicity, not those that it was trained on: {text, label}',
    'FILE...',
  ),
  rewardModels: list('reward models whose accuracy on --labels is measured, by labeler and by group', 'DIR...'),
  acrossLabelers: text(
    'a language model from which reward models are trained on the --labels of some labelers and tested on those of others',
    'DIR',
  ),
  folds: count('folds of --across-labelers', { min: 2, default: 5 }),
  foldsBy: choice('what --across-labelers holds out', ['labeler', 'group'], 'labeler'),
  epochs: number('passes over the labels of --across-labelers', { above: 0, default: 1 }),
  batchSize: count('prompts per step of --across-labelers', { default: 16 }),
  learningRate: number('peak learning rate of --across-labelers', { above: 0, default: 3e-4 }),
  divergence: flag('KL divergence of each of --models from each other, on its own samples'),
  proxy: list('reward models that are optimised by best-of-n, each and as ensembles; needs --gold', 'DIR...'),
  gold: text(
    'a held-out reward model that judges what --proxy chooses; --models are the initial policy and checkpoints of a run',
    'DIR',
  ),
  samples: count('samples per prompt of --divergence and --proxy: the n of best-of-n, at most', { default: 64 }),
  out: text('folder for eval.json and eval.html', 'DIR'),
  ...sampling,
  judgeTimeout: number('seconds that a --judge may take for a prompt', { above: 0, default: 30 }),
  judgeRetries: count('further attempts of a --judge that fails', { min: 0, default: 2 }),
  judgeConcurrency: count('prompts that a --judge compares at the same time', { default: 8 }),
  seed,
  template: data.template,
  ...machine,
};
