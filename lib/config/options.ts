/**
 * The options of each phase: type and range, meaning, default and its source. The API's defaults and checks, flags, help, configuration
 * files and the table in docs/training.md all derive from these tables. "P" is Ouyang et al. 2022.
 */
import { betas, choice, count, flag, number, withDefault } from './fields.js';

export const seed = number('seed of everything random', { min: 0, integer: true, default: 0 });

/** AdamW, the learning rate schedule and gradient clipping: the same options in every phase, with their own defaults. */
export const optimizerFields = {
  learningRate: number('peak learning rate', { min: 0, value: 'RATE' }),
  schedule: choice(
    'learning rate after the warm-up; cosine falls to a tenth, linear to 0',
    ['constant', 'linear', 'cosine'],
    'cosine',
  ),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak', { min: 0, default: 0 }),
  finalFraction: number('final learning rate as a fraction of the peak [cosine: 0.1, linear: 0]', { min: 0, max: 1 }),
  weightDecay: number('decoupled weight decay, applied to matrices only', {
    min: 0,
    default: 0,
    source: 'heed; P does not say',
  }),
  adamBetas: betas("decay rates of AdamW's moments", [0.9, 0.95], 'P app. C'),
  adamEps: number('epsilon of AdamW (bias-corrected form)', {
    above: 0,
    default: 1e-8,
    source: 'heed; P does not say',
  }),
  maxGradNorm: number('clip the gradient to this L2 norm; 0 disables clipping', {
    min: 0,
    default: 1,
    source: 'heed; P does not say',
  }),
};

const running = {
  seed,
  gradientCheckpointing: flag(
    'keep only the inputs of blocks for the backward pass, which computes the rest again: less memory, about a third more time, the same result',
  ),
  saveEvery: count('optimizer steps between checkpoints; 0 saves only at the end and on Ctrl-C [once a minute]', {
    min: 0,
  }),
};

const pretraining = {
  ptxCoef: number("weight of the documents' mean loss per token", { min: 0, default: 0.3 }),
  ptxTokens: count('document tokens per step, at most', { default: 1024, source: 'heed' }),
};

const shuffle = flag('keep the order of the data', true);

export const maxNewTokens = count('tokens per sampled response, at most', { default: 128 });

/** Options of SFT that a program and the command line share. */
export const sftOptions = {
  epochs: number('passes over the data', { above: 0, default: 16, source: 'P C.1' }),
  steps: count('optimizer steps; overrides epochs'),
  batchSize: count('sequences per step', { default: 32, source: 'P C.1, for 1.3B and 6B' }),
  ...optimizerFields,
  learningRate: withDefault(optimizerFields.learningRate, 9.65e-6, {
    help: 'peak learning rate; use about 1e-3 for a model of a million parameters',
    source: 'P C.1, for 1.3B',
  }),
  schedule: withDefault(optimizerFields.schedule, 'cosine', { source: 'P C.1: to 10 %, without warm-up' }),
  dropout: number('residual dropout', { min: 0, below: 1, default: 0.2, source: 'P C.1' }),
  ...pretraining,
  ptxCoef: withDefault(pretraining.ptxCoef, 0.1, {
    source: 'P C.3 mixes in 10 % of pretraining data; heed weights the loss instead',
  }),
  validateEvery: count('steps between validations [one epoch]'),
  keepBest: flag('keep the final weights instead of those with the best validation', true),
  shuffle,
  ...running,
};

/** Options of reward modelling that a program and the command line share. */
export const rewardOptions = {
  epochs: number('passes over the rankings; more than one overfits quickly', {
    above: 0,
    default: 1,
    source: 'P C.2',
  }),
  steps: count('optimizer steps; overrides epochs'),
  batchSize: count('prompts per step, each with all its responses', { default: 64, source: 'P C.2' }),
  ...optimizerFields,
  learningRate: withDefault(optimizerFields.learningRate, 9e-6, {
    help: 'peak learning rate; use about 3e-4 for a model of a million parameters',
    source: 'P C.2',
  }),
  schedule: withDefault(optimizerFields.schedule, 'cosine', { source: 'P C.2: to 10 %' }),
  adamEps: withDefault(optimizerFields.adamEps, 1e-5, {
    source: "Ziegler et al. 2019, in PyTorch's bias-corrected form; TensorFlow's makes smaller first steps",
  }),
  validateEvery: count('steps between validations; 0 validates only at the end', { min: 0, default: 0 }),
  normalize: choice(
    'bias: shift scores so that demonstrations average 0; meanStd: also report the scale that gives them a standard deviation of 1',
    ['bias', 'meanStd', 'none'],
    'bias',
    'P C.2',
  ),
  shuffle,
  shuffleLabels: flag('control run: shuffle the ranks of each prompt, which leaves nothing to learn'),
  ...running,
};

/** Options that all objectives on given responses share. */
const offline = {
  epochs: number('passes over the data; more than one or two overfit', { above: 0, default: 1, source: 'heed' }),
  steps: count('optimizer steps; overrides epochs'),
  batchSize: count('prompts per step, each with all its responses', {
    default: 64,
    source: 'Rafailov et al. 2023, app. B',
  }),
  ...optimizerFields,
  schedule: withDefault(optimizerFields.schedule, 'linear', { source: 'heed' }),
  validateEvery: rewardOptions.validateEvery,
  shuffle,
  ...running,
};
const beta = (initial: number, source: string) =>
  number('weight of the implicit KL penalty: larger stays closer to the reference', {
    above: 0,
    default: initial,
    source,
  });
const labelSmoothing = number('probability that a label is wrong', {
  min: 0,
  below: 0.5,
  default: 0,
  source: 'Mitchell 2023',
});
const peakFor = (rate: number, source: string) =>
  withDefault(optimizerFields.learningRate, rate, {
    help: 'peak learning rate; use about 1e-4 for a model of a million parameters',
    source,
  });

/** Options of DPO that a program and the command line share. */
export const dpoOptions = {
  beta: beta(0.1, 'Rafailov et al. 2023, app. B'),
  loss: choice(
    "the loss of a pair's difference of rewards, or plackettLuce for whole rankings; sigmoidNorm and ipo take rewards per token",
    ['sigmoid', 'sigmoidNorm', 'robust', 'hinge', 'ipo', 'plackettLuce'],
    'sigmoid',
    'Rafailov et al. 2023',
  ),
  labelSmoothing,
  ...offline,
  learningRate: peakFor(1e-6, 'Rafailov et al. 2023, app. B'),
};

/** Options of KTO that a program and the command line share. */
export const ktoOptions = {
  beta: beta(0.1, 'Ethayarajh et al. 2024'),
  desirableWeight: number('weight of responses called good', { min: 0, default: 1, source: 'Ethayarajh et al. 2024' }),
  undesirableWeight: number('weight of responses called bad', { min: 0, default: 1, source: 'Ethayarajh et al. 2024' }),
  ...offline,
  batchSize: count('responses per step, of which the KL is estimated', {
    min: 2,
    default: 32,
    source: 'Ethayarajh et al. 2024',
  }),
  learningRate: peakFor(5e-6, 'Ethayarajh et al. 2024'),
};

/** Options of ORPO that a program and the command line share. */
export const orpoOptions = {
  oddsRatioCoef: number('weight of the odds ratio beside the loss of fine-tuning', {
    min: 0,
    default: 0.1,
    source: 'Hong et al. 2024',
  }),
  ...offline,
  learningRate: peakFor(8e-6, 'Hong et al. 2024'),
};

/** Options of SimPO that a program and the command line share. */
export const simpoOptions = {
  beta: number('scale of the rewards, log-probabilities per token', {
    above: 0,
    default: 2,
    source: 'Meng et al. 2024',
  }),
  margin: number("how much larger the better response's reward should be", {
    min: 0,
    default: 1,
    source: 'Meng et al. 2024: half of beta',
  }),
  labelSmoothing,
  ...offline,
  learningRate: peakFor(1e-6, 'Meng et al. 2024'),
};

/** Options of PPO that a program and the command line share. */
export const ppoOptions = {
  iterations: count('rounds of rollouts and updates [500, unless epochs or steps is given]'),
  epochs: number('passes over the prompts; overrides iterations', { above: 0 }),
  steps: count('optimizer steps; overrides iterations and epochs'),
  batchSize: count('prompts per iteration', { default: 512, source: 'P C.4' }),
  samplesPerPrompt: count('responses per prompt; they share a minibatch', { default: 1, source: 'P C.4' }),
  minibatches: count('optimizer steps per pass over a batch, at most one per prompt', {
    default: 8,
    source: 'P C.4: minibatches of 64',
  }),
  innerEpochs: count('passes over each batch', { default: 1, source: 'P C.4' }),
  maxNewTokens,
  temperature: number('sampling temperature of the rollouts, also used by the losses and the reference', {
    above: 0,
    default: 1,
    source: 'P C.4. Rollouts offer no top-k or top-p: training would no longer match sampling',
  }),
  klCoef: number('coefficient of the per-token KL penalty', {
    min: 0,
    default: 0.02,
    source: 'P C.4; E.7: 0.01 to 0.02',
  }),
  klTarget: number('KL per response, in nats, that klCoef is adjusted towards [klCoef is fixed]', {
    above: 0,
    source: 'Ziegler et al. 2019, §2.2',
  }),
  klHorizon: count('episodes over which klCoef can change by 20 %', {
    default: 10_000,
    source: 'Ziegler et al. 2019, §2.2',
  }),
  stopAtKl: number('stop when the KL per response, in nats, exceeds this [never]', { above: 0 }),
  maxKl: number('fail when the KL per response, in nats, exceeds this', { above: 0, default: 100, source: 'heed' }),
  gamma: number('discount factor', { min: 0, max: 1, default: 1, source: 'P C.4 has no discount' }),
  lambda: number('λ of generalised advantage estimation', {
    min: 0,
    max: 1,
    default: 0.95,
    source: 'Ziegler et al. 2019',
  }),
  clipRange: number('clip range of the policy ratio', { above: 0, default: 0.2, source: 'P C.4' }),
  dualClip: number('bound on the loss of tokens with negative advantage, above 1; 0 disables it', {
    min: 0,
    default: 0,
    source: 'Ye et al. 2020; P has none',
  }),
  valueClipRange: number('clip range of the values; 0 disables clipping', {
    min: 0,
    default: 0.2,
    source: 'Ziegler et al. 2019; P does not say',
  }),
  entropyCoef: number('coefficient of the entropy bonus', { min: 0, default: 0, source: 'P has none' }),
  cutOff: choice(
    'score of a response that did not end: min(score, -penalty), score - penalty, or the unchanged score',
    ['min', 'subtract', 'none'],
    'min',
    'Ziegler et al. 2019 and Huang et al. 2024 set it to -1; the minimum never rewards a cut-off response',
  ),
  cutOffPenalty: number('penalty used by cutOff', { min: 0, default: 1, source: 'as cutOff' }),
  rewardScale: number('multiplies every score; heed reward --normalize meanStd prints the value', { default: 1 }),
  ...pretraining,
  ptxCoef: withDefault(pretraining.ptxCoef, 0.3, { source: 'heed: a sweep on the embedded world, see below' }),
  ema: number(
    "decay per step of an exponential moving average of the policy's weights, saved as RUN/ema; 0 disables it",
    {
      min: 0,
      below: 1,
      default: 0,
      source: 'P C.4 uses 0.992; it does not change the training',
    },
  ),
  ...optimizerFields,
  learningRate: withDefault(optimizerFields.learningRate, 5e-6, {
    help: "the policy's peak learning rate; use about 3e-4 for a model of a million parameters",
    source: 'P prints none; above 8.05e-6 its runs without ptx diverged (E.9)',
  }),
  valueLearningRate: number("the value network's peak learning rate", {
    min: 0,
    default: 9e-6,
    value: 'RATE',
    source: 'P C.4',
  }),
  valueWarmup: count('iterations at the start that train only the value network', {
    min: 0,
    default: 0,
    source: 'P has none',
  }),
  schedule: withDefault(optimizerFields.schedule, 'constant', { source: 'P C.4' }),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak [10 iterations, at most a tenth of the run]', {
    min: 0,
    source: 'P C.4: 10 of 500 iterations',
  }),
  adamEps: rewardOptions.adamEps,
  slots: count('responses decoded in parallel', { default: 64 }),
  shuffle,
  ...running,
};

/** Options that objectives on sampled groups of responses share with PPO. */
const {
  iterations,
  epochs: promptEpochs,
  steps: onlineSteps,
  innerEpochs,
  temperature,
  stopAtKl,
  maxKl,
  clipRange,
  cutOff,
  cutOffPenalty,
  rewardScale,
  slots,
} = ppoOptions;
const online = {
  iterations,
  epochs: promptEpochs,
  steps: onlineSteps,
  batchSize: count('prompts per iteration', { default: 64, source: 'heed' }),
  minibatches: count('optimizer steps per pass over a batch, at most one per prompt', { default: 1, source: 'heed' }),
  innerEpochs,
  maxNewTokens,
  temperature,
  stopAtKl,
  maxKl,
  clipRange,
  cutOff,
  cutOffPenalty,
  rewardScale,
  ...optimizerFields,
  learningRate: withDefault(optimizerFields.learningRate, 1e-6, {
    help: "the policy's peak learning rate; use about 3e-4 for a model of a million parameters",
    source: 'Shao et al. 2024; Ahmadian et al. 2024',
  }),
  schedule: withDefault(optimizerFields.schedule, 'constant', { source: 'as PPO' }),
  slots,
  shuffle,
  ...running,
};

/** Options of GRPO that a program and the command line share. */
export const grpoOptions = {
  samplesPerPrompt: count('responses per prompt, a group', {
    min: 2,
    default: 8,
    source: 'heed; Shao et al. 2024 use 64',
  }),
  klCoef: number('weight of the KL from the reference in the loss', {
    min: 0,
    default: 0.04,
    source: 'Shao et al. 2024',
  }),
  loss: choice(
    'mean over each response, then over responses; mean over all tokens (DAPO); or no influence of length (Dr. GRPO)',
    ['grpo', 'dapo', 'drGrpo'],
    'grpo',
    'Shao et al. 2024',
  ),
  scaleRewards: choice(
    'what advantages are divided by: the standard deviation of the group, of the batch, or nothing (Dr. GRPO)',
    ['group', 'batch', 'none'],
    'group',
    'Shao et al. 2024',
  ),
  clipRangeHigh: number('upper clip range of the ratio, 0.28 in DAPO [clipRange]', { above: 0 }),
  ...online,
};

/** Options of RLOO that a program and the command line share. */
export const rlooOptions = {
  samplesPerPrompt: count('responses per prompt, each the baseline of the others', {
    min: 2,
    default: 4,
    source: 'Ahmadian et al. 2024',
  }),
  klCoef: number('weight of the KL penalty, per response', { min: 0, default: 0.05, source: 'TRL' }),
  ...online,
};

/** Options of pretraining that a program and the command line share. */
export const pretrainOptions = {
  epochs: number('passes over the data', { above: 0, default: 1, source: 'heed' }),
  steps: count('optimizer steps; overrides epochs'),
  batchTokens: count('tokens per step, at most; a longer document forms a step of its own', {
    default: 2048,
    source: 'heed',
  }),
  ...optimizerFields,
  learningRate: withDefault(optimizerFields.learningRate, 3e-3, {
    source: 'heed: measured on models of a million parameters',
  }),
  warmupSteps: count('steps of linear warm-up from a tenth of the peak [100, at most a twentieth of the run]', {
    min: 0,
    source: 'heed',
  }),
  weightDecay: withDefault(optimizerFields.weightDecay, 0.1, { source: 'heed' }),
  dropout: number('residual dropout', { min: 0, below: 1, default: 0, source: 'heed: one pass does not overfit' }),
  validateEvery: count('steps between validations [one epoch]'),
  keepBest: sftOptions.keepBest,
  shuffle,
  ...running,
};
