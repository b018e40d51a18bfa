/** The options of each phase, with the defaults of Ouyang et al. 2022 where the paper has one (docs/training.md says why). */
import { betas, choice, count, flag, list, number, text, withDefault } from './fields.js';

const machine = {
  threads: count('threads that compute; HEED_THREADS does the same [what the process may use]', { max: 256 }),
  maxTokens: count('tokens of one pass through a model: more memory, at times more speed', {
    max: 2 ** 24,
    default: 4096,
  }),
};

const optimizer = {
  seed: number('everything random is a function of this', { min: 0, integer: true, default: 0 }),
  learningRate: number('peak learning rate', { min: 0, value: 'RATE' }),
  schedule: choice(
    'how it goes on after the warm-up; cosine falls to a tenth, linear to 0',
    ['constant', 'linear', 'cosine'],
    'cosine',
  ),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak', { min: 0, default: 0 }),
  weightDecay: number('decoupled weight decay, on matrices only', { min: 0, default: 0 }),
  adamBetas: betas('decay of the moments', [0.9, 0.95]),
  adamEps: number('epsilon of AdamW, in the bias-corrected form', { above: 0, default: 1e-8 }),
  maxGradNorm: number("the whole gradient's norm is clipped to this; 0 is off", { min: 0, default: 1 }),
};

const data = {
  maxLength: count("tokens of a sequence, prompt and response [the model's positions]", { min: 2 }),
  overlong: choice('a row that is longer: dropped, or its response cut; counted either way', ['drop', 'cut'], 'drop'),
  template: text("frames prompts: plain, hh, tokenizer (the tokenizer's own), or a Jinja file [text as it is]", 'NAME'),
  shuffle: flag('keep the order of the files', true),
};

const validation = {
  validation: list('held-out data, in the form of --data'),
  validationFraction: number('share of the prompts kept back where no --validation is given', {
    min: 0,
    below: 1,
    default: 0.05,
  }),
};

const running = {
  out: text('the run: RUN/model, metrics.jsonl, config.json, report.html, checkpoints', 'RUN'),
  saveEvery: count('steps between checkpoints; 0: at the end and on Ctrl-C', { min: 0, default: 0 }),
};

export const sftFields = {
  model: text('the model to start from', 'DIR'),
  data: list('demonstrations: {prompt, response}, {messages} or {instruction, input, output}'),
  ...running,
  ...validation,
  validateEvery: count('steps between validations [an epoch]'),
  keepBest: flag('end with the last weights, not those of the best validation', true),
  rewardModel: text(
    'the best validation is that with the highest score of this model for sampled answers [lowest loss]',
    'DIR',
  ),
  maxNewTokens: count('tokens of such an answer, at most', { default: 128 }),
  epochs: number('passes over the data', { above: 0, default: 16 }),
  steps: count('optimizer steps, in place of epochs'),
  batchSize: count('sequences of a step', { default: 32 }),
  ...optimizer,
  learningRate: withDefault(
    optimizer.learningRate,
    9.65e-6,
    'peak learning rate; a model of a million parameters wants about 1e-3',
  ),
  dropout: number('residual dropout', { min: 0, below: 1, default: 0.2 }),
  pretrain: list('documents mixed into every step: {text} rows or .txt'),
  ptxCoef: number('weight of their mean loss per token, where there are any', { min: 0, default: 0.1 }),
  ptxTokens: count('tokens of them in a step, at most', { default: 1024 }),
  ...data,
  ...machine,
};

export const rewardFields = {
  model: text('the SFT model, or a reward model to go on from', 'DIR'),
  data: list('rankings: {prompt, responses, ranks} with 0 the best, or {prompt, chosen, rejected}'),
  ...running,
  ...validation,
  validateEvery: count('steps between validations; 0: at the end', { min: 0, default: 0 }),
  demonstrations: list('what shall score 0 on average, as for heed sft [the best-ranked responses]'),
  normalize: choice(
    'bias: shift the scores so; meanStd: also say the scale that makes their deviation 1',
    ['bias', 'meanStd', 'none'],
    'bias',
  ),
  epochs: number('passes over the rankings; more than one overfits quickly', { above: 0, default: 1 }),
  steps: count('optimizer steps, in place of epochs'),
  batchSize: count('prompts of a step, each with all its responses', { default: 64 }),
  ...optimizer,
  learningRate: withDefault(
    optimizer.learningRate,
    9e-6,
    'peak learning rate; a model of a million parameters wants about 3e-4',
  ),
  adamEps: withDefault(optimizer.adamEps, 1e-5),
  dropout: number('0: with dropout the scores of one text differ', { min: 0, max: 0, default: 0 }),
  shuffleLabels: flag('the counterfactual: deal the ranks of each prompt at random'),
  ...data,
  ...machine,
};

export const ppoFields = {
  policy: text('the SFT model: start and KL reference', 'DIR'),
  rewardModel: text('the reward model; the value network starts from it', 'DIR'),
  prompts: list('prompts: {prompt}, {messages} or {instruction, input}'),
  pretrain: list('documents for PPO-ptx: {text} rows or .txt'),
  ...running,
  iterations: count('rounds of rollouts and updates [500, or what epochs or steps make]'),
  epochs: number('passes over the prompts, in place of iterations', { above: 0 }),
  steps: count('optimizer steps, in place of iterations'),
  batchSize: count('prompts of an iteration', { default: 512 }),
  samplesPerPrompt: count('responses to each prompt', { default: 1 }),
  minibatches: count('optimizer steps of one pass over them', { default: 8 }),
  innerEpochs: count('passes over them', { default: 1 }),
  maxNewTokens: count('tokens of a response, at most', { default: 128 }),
  temperature: number('of the rollouts, the losses and the reference', { above: 0, default: 1 }),
  klCoef: number('weight of the KL penalty per token', { min: 0, default: 0.02 }),
  klTarget: number('KL per response, nats, to steer klCoef to [klCoef is fixed]', { above: 0 }),
  klHorizon: count('episodes over which klCoef may move by a fifth', { default: 10_000 }),
  stopAtKl: number('end when the KL per response, nats, exceeds this [never]', { above: 0 }),
  maxKl: number('a KL per response beyond this is an error', { above: 0, default: 100 }),
  gamma: number('discount', { min: 0, max: 1, default: 1 }),
  lambda: number('of generalised advantage estimation', { min: 0, max: 1, default: 0.95 }),
  clipRange: number('of the ratio', { above: 0, default: 0.2 }),
  dualClip: number('bound for tokens of negative advantage; 0 is off', { min: 0, default: 0 }),
  valueClipRange: number('of the values', { above: 0, default: 0.2 }),
  entropyCoef: number('weight of the entropy', { min: 0, default: 0 }),
  cutOff: choice(
    'score of a response without an end: min(score, -penalty), score - penalty, or as it is',
    ['min', 'subtract', 'none'],
    'min',
  ),
  cutOffPenalty: number('that penalty', { min: 0, default: 1 }),
  rewardScale: number('multiplies every score; heed reward says it for meanStd', { default: 1 }),
  ptxCoef: number("weight of the documents' mean loss per token", { min: 0, default: 0.3 }),
  ptxTokens: count('tokens of them in a step, at most', { default: 1024 }),
  ema: number("decay per step of an average of the policy's weights, kept as RUN/ema; 0 is off", {
    min: 0,
    below: 1,
    default: 0,
  }),
  ...optimizer,
  learningRate: withDefault(
    optimizer.learningRate,
    5e-6,
    'peak learning rate of the policy; a model of a million parameters wants about 3e-4',
  ),
  valueLearningRate: number('peak learning rate of the value network', { min: 0, default: 9e-6, value: 'RATE' }),
  valueWarmup: count('iterations at the start in which only the value network learns', { min: 0, default: 0 }),
  schedule: withDefault(optimizer.schedule, 'constant'),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak [10 iterations, at most a tenth of the run]', {
    min: 0,
  }),
  adamEps: withDefault(optimizer.adamEps, 1e-5),
  dropout: number('0: with dropout the first ratio is not 1', { min: 0, max: 0, default: 0 }),
  ...data,
  slots: count('responses decoded together', { default: 64 }),
  ...machine,
};

export const pretrainFields = {
  data: list('documents: {text} rows or .txt'),
  tokenizer: text('a folder with tokenizer.json: heed tokenizer makes one [that of --model]', 'DIR'),
  ...running,
  model: text('a model to go on from, in place of a new one', 'DIR'),
  architecture: choice('of a new model', ['llama', 'gpt2'], 'llama'),
  numLayers: count('blocks', { default: 4 }),
  channels: count('width', { default: 128 }),
  numHeads: count('attention heads', { default: 4 }),
  numKvHeads: count('key and value heads, llama only [numHeads]'),
  mlpChannels: count('width of the MLP [llama: 8/3 of channels, gpt2: 4 times]'),
  maxPositions: count('longest sequence of a new model', { default: 256 }),
  tiedHead: flag('a head of its own in place of the embedding (llama only)', true),
  ...validation,
  validationFraction: withDefault(validation.validationFraction, 0.01),
  validateEvery: count('steps between validations [an epoch]'),
  keepBest: flag('end with the last weights, not those of the best validation', true),
  epochs: number('passes over the data', { above: 0, default: 1 }),
  steps: count('optimizer steps, in place of epochs'),
  batchTokens: count('tokens of a step, at most', { default: 2048 }),
  ...optimizer,
  learningRate: withDefault(optimizer.learningRate, 3e-3),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak [100, at most a twentieth of the run]', {
    min: 0,
  }),
  weightDecay: withDefault(optimizer.weightDecay, 0.1),
  dropout: number('residual dropout', { min: 0, below: 1, default: 0 }),
  maxLength: data.maxLength,
  shuffle: data.shuffle,
  ...machine,
};

export const tokenizerFields = {
  data: list('text: {text} rows, .txt, or rows of any phase'),
  out: text('folder for tokenizer.json and tokenizer_config.json', 'DIR'),
  vocabSize: count('tokens in all: 2 special ones, 256 bytes, merges', { min: 258, default: 4096 }),
  minFrequency: count('a pair that occurs less often is not merged', { default: 2 }),
};

const sampling = {
  maxNewTokens: count('tokens of a response, at most', { default: 256 }),
  temperature: number('0 takes the likeliest token', { min: 0, default: 1 }),
  topK: count('draw from the k likeliest tokens; 0 is off', { min: 0, default: 0 }),
  topP: number('draw from the likeliest tokens that together have this probability', { above: 0, max: 1, default: 1 }),
  stop: list('texts that end a response, beside end-of-text; not part of it', 'TEXT...'),
};

export const generateFields = {
  model: text('a language model', 'DIR'),
  prompts: list('a file of prompts: {prompt}, {messages} or {instruction, input}', 'FILE'),
  prompt: text('one prompt'),
  out: text('where the rows go [standard output]', 'FILE'),
  logprobs: flag("add each token's log-probability, nats"),
  ...sampling,
  seed: optimizer.seed,
  template: data.template,
  slots: count('responses decoded together', { default: 64 }),
  ...machine,
};

export const scoreFields = {
  model: text('a language model or a reward model', 'DIR'),
  data: list('rows with a prompt and a response, responses, chosen and rejected, or tokens', 'FILE'),
  out: text('where the rows go [standard output]', 'FILE'),
  template: data.template,
  ...machine,
};

export const chatFields = {
  model: text('a language model', 'DIR'),
  system: text('a system message'),
  ...sampling,
  temperature: withDefault(sampling.temperature, 0.7),
  seed: optimizer.seed,
  template: text(
    "plain, hh, tokenizer (the tokenizer's own) or a Jinja file [the tokenizer's own, else plain]",
    'NAME',
  ),
  ...machine,
};
