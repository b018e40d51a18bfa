/** The plots of each phase: which metrics they show. The report and the live page draw the same. */
import { modelName } from './style.js';

export interface Panel {
  readonly title: string;
  readonly note: string;
  /** Metrics and their names in the legend. */
  readonly metrics: Readonly<Record<string, string>>;
  readonly share?: boolean;
  readonly level?: { readonly y: number; readonly name: string };
  /** Also shown when several phases are compared. */
  readonly headline?: boolean;
}

const GRADIENT: Panel = { title: 'Gradient norm', note: 'before clipping', metrics: { gradNorm: 'gradient' } };
const RATE: Panel = { title: 'Learning rate', note: '', metrics: { learningRate: 'learning rate' } };
const LOSS: Panel = {
  title: 'Loss',
  note: 'nats per token',
  metrics: { loss: 'training', validationLoss: 'held out', ptxLoss: 'prose mixed in' },
  headline: true,
};

const GROUPED: readonly Panel[] = [
  { title: 'Score', note: 'mean, as optimised', metrics: { score: 'score' }, headline: true },
  { title: 'KL from the reference', note: 'nats per response', metrics: { kl: 'k1', klK3: 'k3' }, headline: true },
  { title: 'Response length', note: 'tokens', metrics: { length: 'length' } },
  { title: 'Finished', note: 'fraction that ends by itself', metrics: { finished: 'finished' }, share: true },
  { title: 'Entropy', note: 'nats per token', metrics: { entropy: 'entropy' }, headline: true },
  {
    title: 'Nothing to learn',
    note: 'fraction of prompts whose responses all have the same score',
    metrics: { tiedGroups: 'tied' },
    share: true,
  },
  { title: 'Clipped', note: 'fraction', metrics: { clipFraction: 'policy' }, share: true },
  GRADIENT,
  RATE,
];

const COMPARED: readonly Panel[] = [
  {
    title: 'In order',
    note: 'fraction of comparisons that the implicit rewards order as the labels do',
    metrics: { accuracy: 'training', validationAccuracy: 'held out' },
    share: true,
    level: { y: 0.5, name: 'chance' },
    headline: true,
  },
  { title: 'Loss', note: '', metrics: { loss: 'training', validationLoss: 'held out' }, headline: true },
  {
    title: 'Implicit rewards',
    note: 'of better and worse responses',
    metrics: { chosenReward: 'better', rejectedReward: 'worse' },
  },
  {
    title: 'Log-probability',
    note: 'nats per response: it may fall for both',
    metrics: { chosenLogprob: 'better', rejectedLogprob: 'worse' },
  },
  { title: 'KL from the reference', note: 'nats per response, as the loss estimates it', metrics: { kl: 'KL' } },
  GRADIENT,
  RATE,
];

const PANELS: Readonly<Record<string, readonly Panel[]>> = {
  sft: [
    LOSS,
    { title: 'Validation', note: 'selects the checkpoint', metrics: { validationMetric: 'validation' } },
    GRADIENT,
    RATE,
  ],
  pretrain: [LOSS, GRADIENT, RATE],
  grpo: GROUPED,
  rloo: GROUPED,
  dpo: COMPARED,
  kto: COMPARED,
  orpo: COMPARED,
  simpo: COMPARED,
  reward: [
    {
      title: 'Pairs ordered correctly',
      note: 'as the labelers ranked them',
      metrics: { accuracy: 'training', validationAccuracy: 'held out' },
      share: true,
      level: { y: 0.5, name: 'chance' },
      headline: true,
    },
    { title: 'Loss', note: 'nats per pair', metrics: { loss: 'training', validationLoss: 'held out' }, headline: true },
    { title: 'Standard deviation of scores', note: 'of a batch', metrics: { scoreStd: 'scores' } },
    GRADIENT,
    RATE,
  ],
  ppo: [
    {
      title: 'Score',
      note: 'of the reward model',
      metrics: { score: 'score', reward: 'minus the KL penalty' },
      headline: true,
    },
    { title: 'KL from SFT', note: 'nats per response', metrics: { kl: 'k1', klK3: 'k3' }, headline: true },
    { title: 'Response length', note: 'tokens', metrics: { length: 'length' } },
    { title: 'Finished', note: 'fraction that ends by itself', metrics: { finished: 'finished' }, share: true },
    { title: 'Entropy', note: 'nats per token', metrics: { entropy: 'entropy' }, headline: true },
    {
      title: 'Clipped',
      note: 'fraction of tokens',
      metrics: { clipFraction: 'policy', valueClipFraction: 'value' },
      share: true,
    },
    { title: 'Explained variance', note: 'of the returns', metrics: { explainedVariance: 'explained variance' } },
    { title: 'Value loss', note: '', metrics: { valueLoss: 'value loss' } },
    { title: 'Prose loss', note: 'of the pretraining mix, nats per token', metrics: { ptxLoss: 'prose' } },
    {
      title: 'Gradient norms',
      note: 'before clipping',
      metrics: { policyGradNorm: 'PPO', ptxGradNorm: 'pretraining mix', valueGradNorm: 'value' },
    },
    { title: 'Largest ratio', note: 'of a token, new to old policy', metrics: { ratioMax: 'largest' } },
    { title: 'Learning rates', note: '', metrics: { learningRate: 'policy', valueLearningRate: 'value' } },
  ],
};

/** The plots of a phase, the most telling first. */
export function panelsOf(phase: string): readonly Panel[] {
  const name = phase.startsWith('ppo') ? 'ppo' : phase;
  return Object.hasOwn(PANELS, name) ? PANELS[name]! : [LOSS, GRADIENT, RATE]; // the phase may come from a file
}

export function phaseName(phase: string): string {
  const names: Record<string, string> = {
    sft: 'SFT',
    reward: 'Reward model',
    ppo: 'PPO',
    pretrain: 'Pretraining',
    dpo: 'DPO',
    kto: 'KTO',
    orpo: 'ORPO',
    simpo: 'SimPO',
    grpo: 'GRPO',
    rloo: 'RLOO',
  };
  return Object.hasOwn(names, phase) ? names[phase]! : modelName(phase);
}
