/** The options of each command: those of its phase, with its files, the machine and how data is read. */
import { familyNames } from '../huggingface/modelconfig.js';
import { choice, count, flag, list, number, positives, text, texts, timeOfDay, withDefault } from './fields.js';
import {
  dpoOptions,
  grpoOptions,
  ktoOptions,
  maxNewTokens,
  orpoOptions,
  ppoOptions,
  pretrainOptions,
  rewardOptions,
  rlooOptions,
  seed,
  sftOptions,
  simpoOptions,
} from './options.js';

export const machine = {
  device: choice('device to compute on; auto takes the GPU if there is one', ['cpu', 'cuda', 'auto'], 'cpu'),
  dtype: choice(
    'number format of parameters and activations; sums and the optimizer keep float32',
    ['f32', 'bf16'],
    'f32',
  ),
  threads: count('compute threads; HEED_THREADS does the same [the CPUs this process may use]', { max: 256 }),
  maxTokens: count('tokens per forward pass; larger values use more memory and can be faster', {
    max: 2 ** 24,
    default: 4096,
  }),
};

const out = text('run folder: RUN/model, metrics.jsonl, config.json, report.html, checkpoints', 'RUN');

const trackers = {
  tensorboard: text("folder for TensorBoard's event files, beside RUN/metrics.jsonl", 'DIR'),
  mlflow: text('MLflow tracking server to send metrics to', 'URL'),
  mlflowExperiment: withDefault(
    text('experiment of the tracking server; one that does not exist is created', 'NAME'),
    'heed',
  ),
};

const watch = flag('serve a live page of the run on this machine, as heed watch does');

export const data = {
  maxLength: count("tokens per sequence, prompt and response together [the model's positions]", { min: 2 }),
  overlong: choice('how to treat a longer row: drop it or cut its response; both are counted', ['drop', 'cut'], 'drop'),
  template: text(
    "chat template for prompts: plain, hh, tokenizer (the tokenizer's own), or a Jinja file [none: the text is used unchanged]",
    'NAME',
  ),
};

const weights = (option: string) =>
  positives(`how often a row of each file of ${option} is taken: 2 is twice, 0.25 every fourth row [1]`, 'W,W...');

const validation = {
  validation: list('held-out data, in the same format as --data'),
  validationFraction: number('fraction of the prompts held out when --validation is not given', {
    min: 0,
    below: 1,
    default: 0.05,
  }),
};

const adapter = text('an adapter to the model: a folder written by heed or PEFT', 'DIR');

const int8 = flag('keep the weights of linear layers in 8 bits, with a scale for each output');

/** A low-rank adapter (Hu et al. 2021) in place of all weights; the defaults are PEFT's. */
const lora = {
  adapter: { ...adapter, help: 'an adapter to the model, to train further: a folder written by heed or PEFT' },
  loraR: count('train a low-rank adapter (LoRA) of this rank beside the frozen weights [train all weights]'),
  loraAlpha: number("the adapter's scale is this over its rank [the rank]", { above: 0 }),
  loraDropout: number("dropout of the adapter's inputs", { min: 0, below: 1, default: 0 }),
  loraTargets: list('linear layers of the adapter, by names or ends of names: q_proj, v_proj [all-linear]', 'NAME...'),
  rslora: flag("the adapter's scale is alpha over the square root of its rank"),
  int8: { ...int8, help: `${int8.help}: those that are frozen beside an adapter` },
};

export const sftFields = {
  model: text('the model to start from', 'DIR'),
  data: list(
    'demonstrations: {prompt, response}, {prompt, completion}, {messages}, {conversations} or {instruction, input, output}',
  ),
  weights: weights('--data'),
  out,
  ...trackers,
  watch,
  ...validation,
  rewardModel: text(
    'choose the best weights by the mean score that this model gives sampled responses [by the lowest validation loss]',
    'DIR',
  ),
  maxNewTokens: { ...maxNewTokens, help: 'tokens per response sampled for --reward-model, at most' },
  pretrain: list('documents mixed into every step: {text} rows or .txt'),
  ...lora,
  ...sftOptions,
  ...data,
  ...machine,
};

const noDropout = (why: string) => number(`always 0: with dropout ${why}`, { min: 0, max: 0, default: 0 });

export const rewardFields = {
  model: text('the SFT model, or a reward model to train further', 'DIR'),
  data: list(
    'rankings: {prompt, responses, ranks} with 0 the best, {prompt, chosen, rejected}, or {chosen, rejected} that are dialogues',
  ),
  weights: weights('--data'),
  out,
  ...trackers,
  watch,
  ...validation,
  demonstrations: list(
    'demonstrations whose mean score is shifted to 0, in the format of heed sft [the best-ranked responses]',
  ),
  ...lora,
  ...rewardOptions,
  loraDropout: noDropout('the same text would get different scores'),
  dropout: noDropout('the same text would get different scores'),
  ...data,
  ...machine,
};

const offlineFields = (model: string) => ({
  model: text(model, 'DIR'),
  weights: weights('--data'),
  out,
  ...trackers,
  watch,
  ...lora,
  loraDropout: noDropout('the model would differ from its reference before the first step'),
  ...validation,
  ...data,
  ...machine,
});
const comparedRows = list(
  'rankings: {prompt, responses, ranks} with 0 the best, {prompt, chosen, rejected}, or {chosen, rejected} that are dialogues',
);

export const dpoFields = {
  ...offlineFields('the SFT model: what is trained, and the reference'),
  data: comparedRows,
  ...dpoOptions,
};

export const ktoFields = {
  ...offlineFields('the SFT model: what is trained, and the reference'),
  data: list('feedback: {prompt, response, label} or {messages, label}, with label true for a good response'),
  ...ktoOptions,
};

export const orpoFields = {
  ...offlineFields('the model to train: a base model will do'),
  data: comparedRows,
  ...orpoOptions,
};

export const simpoFields = { ...offlineFields('the SFT model'), data: comparedRows, ...simpoOptions };

const rewarded = {
  reward: texts(
    "a reward, added to that of --reward-model: numeric:FIELD, exact:FIELD, tests:FIELD (of a prompt's row), regex:PATTERN, schema:FILE, judge:URL#MODEL, a URL, a module, the folder of a reward model, mean:DIR,DIR or worst: or uncertainty: of several; 0.5* before it is its weight",
    'REWARD',
  ),
  rewardFailure: choice(
    'when a --reward fails after its retries: skip the prompt, counted in the metrics, or stop',
    ['skip', 'stop'],
    'skip',
  ),
  rewardTimeout: number("seconds that a --reward may take for a prompt's responses", {
    above: 0,
    max: 86_400,
    default: 30,
  }),
  rewardRetries: count('further attempts of a --reward that fails', { min: 0, default: 2 }),
  rewardConcurrency: count('prompts whose --reward is computed at the same time', { default: 8 }),
};

export const ppoFields = {
  policy: text('the SFT model: initial policy and KL reference', 'DIR'),
  rewardModel: text('the reward model; the value network starts from it', 'DIR'),
  ...rewarded,
  prompts: list('prompts: {prompt}, {messages}, {conversations} or {instruction, input}'),
  weights: weights('--prompts'),
  pretrain: list('documents for PPO-ptx: {text} rows or .txt'),
  out,
  ...trackers,
  watch,
  ...lora,
  adapter: { ...adapter, help: 'an adapter to the policy, to train further: a folder written by heed or PEFT' },
  loraR: {
    ...lora.loraR,
    help: 'train low-rank adapters (LoRA) of this rank beside the frozen weights of policy and reward model [train all weights]',
  },
  ...ppoOptions,
  loraDropout: noDropout('the first ratio would not be 1'),
  dropout: noDropout('the first ratio would not be 1'),
  ...data,
  ...machine,
};

const onlineFields = {
  policy: text('the SFT model: initial policy and KL reference', 'DIR'),
  rewardModel: text('a reward model', 'DIR'),
  ...rewarded,
  prompts: ppoFields.prompts,
  weights: ppoFields.weights,
  out,
  ...trackers,
  watch,
  ...lora,
  adapter: ppoFields.adapter,
  ...data,
  ...machine,
};

export const grpoFields = { ...onlineFields, ...grpoOptions, loraDropout: ppoFields.loraDropout };

export const rlooFields = { ...onlineFields, ...rlooOptions, loraDropout: ppoFields.loraDropout };

export const pretrainFields = {
  data: list('documents: {text} rows or .txt'),
  weights: weights('--data'),
  tokenizer: text('folder with a tokenizer.json, as made by heed tokenizer [that of --model]', 'DIR'),
  out,
  ...trackers,
  watch,
  model: text('a model to train further, instead of a new one', 'DIR'),
  family: choice('family of a new model', familyNames, 'llama'),
  numLayers: count('layers', { default: 4 }),
  channels: count('width of the residual stream', { default: 128 }),
  numHeads: count('attention heads', { default: 4 }),
  numKvHeads: count('key and value heads, not for gpt2 [numHeads]'),
  mlpChannels: count('width of the MLP [8/3 of channels, gpt2: 4 times channels]'),
  maxPositions: count('longest sequence of a new model', { default: 256 }),
  tiedHead: flag('do not tie the head to the embedding', true),
  ...validation,
  validationFraction: withDefault(validation.validationFraction, 0.01),
  ...pretrainOptions,
  maxLength: data.maxLength,
  ...machine,
};

export const tokenizerFields = {
  data: list('text: {text} rows, .txt files, or rows of any phase'),
  out: text('folder for tokenizer.json and tokenizer_config.json', 'DIR'),
  vocabSize: count('tokens in total: 2 special tokens, 256 bytes, merges', { min: 258, default: 4096 }),
  minFrequency: count('minimum count of a pair to be merged', { default: 2 }),
};

export const sampling = {
  maxNewTokens: withDefault(maxNewTokens, 256, { help: 'tokens per response, at most' }),
  temperature: number('sampling temperature; 0 takes the most likely token', { min: 0, default: 1 }),
  topK: count('sample from the k most likely tokens; 0 disables it', { min: 0, default: 0 }),
  topP: number('sample from the fewest most likely tokens whose probabilities add up to this', {
    above: 0,
    max: 1,
    default: 1,
  }),
  stop: list('texts that end a response, besides end-of-text; they are not part of it', 'TEXT...'),
};

export const generateFields = {
  model: text('a language model', 'DIR'),
  adapter,
  int8,
  prompts: list('file of prompts: {prompt}, {messages}, {conversations} or {instruction, input}', 'FILE'),
  prompt: texts('a prompt; may be given several times'),
  out: text('output file [standard output]', 'FILE'),
  logprobs: flag("add each token's log-probability, in nats"),
  ...sampling,
  seed,
  template: data.template,
  slots: ppoOptions.slots,
  ...machine,
};

export const scoreFields = {
  model: text('a language model or a reward model', 'DIR'),
  adapter,
  int8,
  data: list('rows with a prompt and a response, responses, chosen and rejected, or tokens', 'FILE'),
  out: text('output file [standard output]', 'FILE'),
  template: data.template,
  ...machine,
};

export const dataFields = {
  data: list('the files or folders to look at'),
  model: text('a model or tokenizer whose tokens to show [the embedded base model]', 'DIR'),
  as: choice(
    'what the rows are; auto tells by the fields of the first',
    ['auto', 'demonstrations', 'rankings', 'prompts', 'documents'],
    'auto',
  ),
  rows: count('rows to show', { min: 0, default: 3 }),
  maxLength: { ...data.maxLength, help: `${data.maxLength.help}; without a model, no limit` },
  overlong: data.overlong,
  template: data.template,
};

export const chatFields = {
  model: text('a language model', 'DIR'),
  adapter,
  int8,
  system: text('a system message'),
  ...sampling,
  temperature: withDefault(sampling.temperature, 0.7),
  seed,
  template: text(
    "plain, hh, tokenizer (the tokenizer's own) or a Jinja file [the tokenizer's own if it has one, else plain]",
    'NAME',
  ),
  ...machine,
};

export const mergeFields = {
  model: text('the base of the adapter, or an adapter that names its base', 'DIR'),
  adapter,
  out: text('folder of the merged model', 'DIR'),
  dtype: choice('number format of the file', ['f32', 'bf16', 'f16'], 'f32'),
};

export const labelFields = {
  out: text('the file of labels, made or continued', 'FILE'),
  model: text('a language model whose responses are labelled', 'DIR'),
  models: list('further models or checkpoints: each gives a share of the responses', 'DIR...'),
  prompts: list(
    'prompts, as of heed generate; with responses: {prompt, responses}; or what was asked, in a file of heed serve',
    'FILE...',
  ),
  attention: list('attention items, whose order is known: {prompt, responses, ranks}', 'FILE...'),
  mode: choice(
    'rate and rank all responses; choose one of two; call each good or bad; or write one',
    ['rank', 'pair', 'thumb', 'demonstrate'],
    'rank',
  ),
  k: count('distinct responses per prompt [4 to rank, 2 of a pair, 1 for a thumb, 0 to write]', { min: 0, max: 9 }),
  rates: flag('do not ask for a rating and flags of each response before all are ranked', true),
  guidelines: text('Markdown that is shown beside the responses', 'FILE'),
  labelers: list('names of people who get a link of their own [only the owner labels]', 'NAME...'),
  owner: withDefault(text('name of the one who also sees the overview', 'NAME'), 'owner'),
  revoke: list('names whose links become invalid', 'NAME...'),
  double: number('fraction of the prompts that several people label [0.2 if there are several]', { min: 0, max: 1 }),
  labelersPerItem: count('people who label each of these prompts', { default: 2 }),
  repeats: number("fraction of a person's tasks that are an earlier one again", { min: 0, below: 1, default: 0.05 }),
  attentionFraction: number("fraction of a person's tasks that are attention items", {
    min: 0,
    below: 1,
    default: 0.05,
  }),
  order: choice(
    'which prompt comes next: any, or where the reward models disagree most',
    ['random', 'uncertain'],
    'random',
  ),
  learn: flag('train a reward model on the labels while people label'),
  rewardModel: text('folder for that model, replaced after each training', 'DIR'),
  ensemble: count('reward models that are trained; their disagreement is the uncertainty', { default: 3, max: 16 }),
  heldOut: number('fraction of the prompts that the reward model is tested on', { min: 0, below: 1, default: 0.2 }),
  learningRate: number('its learning rate', { min: 0, default: 3e-4, value: 'RATE' }),
  batchSize: count('prompts per step', { default: 8 }),
  epochs: number('passes over the labels in each training', { above: 0, default: 2 }),
  loraR: count('train a low-rank adapter (LoRA) of this rank instead of all weights'),
  ...sampling,
  ahead: count('prompts whose responses are sampled ahead of the people', { default: 64 }),
  seed,
  template: data.template,
  port: number('port of the page; 0 takes a free one', { min: 0, max: 65_535, integer: true, default: 8081 }),
  host: withDefault(text('address to listen on; 0.0.0.0 lets other machines in', 'HOST'), '127.0.0.1'),
  import: list('rankings, thumbs or demonstrations that are added as labels, in the format of --format', 'FILE...'),
  export: text('write the labels to this file, or to standard output (-), and exit', 'FILE'),
  format: choice('format of --export and --import', ['jsonl', 'argilla', 'label-studio'], 'jsonl'),
  kind: choice(
    'what --export writes; auto is the first of these that the file has',
    ['auto', 'rankings', 'thumbs', 'demonstrations'],
    'auto',
  ),
  ...machine,
};

export const serveFields = {
  model: text('a language model', 'DIR'),
  adapter: texts(
    'an adapter to the model, in its place, or NAME=DIR: one that is served beside it by this name, as many as wanted',
    'DIR',
  ),
  name: text("what clients call the model [the folder's name, or of RUN/model the run's]", 'NAME'),
  rewardModel: text('a reward model for /score, and for --objective ppo', 'DIR'),
  feedback: text('file in which answers and feedback are kept, made or continued', 'FILE.db'),
  port: number('port of the service; 0 takes a free one', { min: 0, max: 65_535, integer: true, default: 8080 }),
  host: withDefault(text('address to listen on; others than this machine need --api-key', 'HOST'), '127.0.0.1'),
  apiKey: texts('a key that requests need; may be given several times, and as HEED_API_KEYS=KEY,KEY', 'KEY'),
  adminKey: text('the key that /admin and the names of labelers need, or HEED_ADMIN_KEY [this machine only]', 'KEY'),
  allowOrigin: texts(
    'an origin whose pages may call the service from a browser, such as https://chat.example.com; may be given several times; * is all, and needs --api-key',
    'ORIGIN',
  ),
  slots: { ...ppoOptions.slots, help: 'answers decoded at the same time', default: 16 },
  queue: count('requests that wait for a slot; more are refused with 429', { min: 0, default: 64 }),
  perMinute: count('requests of a key in a minute; 0 is any number', { min: 0, default: 0 }),
  atOnce: count('requests of a key at the same time; 0 is any number', { min: 0, default: 0 }),
  timeout: number('seconds until a request is ended', { above: 0, max: 86_400, default: 600 }),
  grace: number('seconds that requests under way have to end when the service is stopped', { min: 0, default: 30 }),
  maxNewTokens: withDefault(maxNewTokens, 256, { help: 'tokens of an answer whose request does not say' }),
  template: text(
    "chat template: plain, hh, tokenizer (the tokenizer's own) or a Jinja file [the tokenizer's own if it has one, else plain]",
    'NAME',
  ),
  train: choice(
    'learn from the feedback beside serving: at night, whenever there is enough, or not',
    ['nightly', 'continuous', 'off'],
    'off',
  ),
  trainAt: timeOfDay('hour at which nightly trains, by the clock of this machine', '03:00'),
  objective: choice(
    'auto is dpo if there are more rankings and edits than thumbs, else kto; ppo needs --reward-model',
    ['auto', 'dpo', 'kto', 'ppo'],
    'auto',
  ),
  trainEvery: count('thumbs, rankings and edits that are enough for a training', { default: 32 }),
  leastHeldOut: count('held-out prompts with feedback that a version has to win on, at least', { default: 16 }),
  loraR: count('rank of the adapter that learns', { default: 16 }),
  learningRate: number('its learning rate', { min: 0, default: 1e-4, value: 'RATE' }),
  epochs: number('passes over the feedback in each training; iterations of ppo', { above: 0, default: 1 }),
  batchSize: count('thumbs, rankings or prompts per step', { default: 16 }),
  versions: text('folder of the versions that it learns [FILE.db.versions]', 'DIR'),
  log: flag('no log of requests on standard output', true),
  ...machine,
};

export const exportFields = {
  model: text('a language model, or an adapter that names its base', 'DIR'),
  adapter,
  gguf: text('the file to write', 'FILE'),
  type: choice(
    'number format of the matrices; q8_0 is 8 bits with a scale for every 32 numbers',
    ['f32', 'f16', 'bf16', 'q8_0'],
    'f16',
  ),
};

export const watchFields = {
  runs: list('run folders, or folders that contain some', 'RUN...'),
  host: withDefault(
    text('address to listen on; from other machines the page only shows, it does not pause or stop'),
    '127.0.0.1',
  ),
  port: number('port to listen on; 0 takes a free one', { min: 0, max: 65535, integer: true, default: 8082 }),
};
