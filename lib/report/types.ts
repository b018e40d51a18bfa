/** The contents of `RUN/report.json`, from which `RUN/report.html` is made. */
import type { Estimate, WinRate } from '../statistics/index.js';

/** One line of `metrics.jsonl`, numbers only: `step`, `loss` and the phase's other metrics. */
export type Metrics = { readonly step: number } & Readonly<Record<string, number>>;

/** The metrics of one phase, in order of step. */
export interface Curve {
  /** `sft`, `reward`, `ppo`, `ppo-ptx`, `pretrain`. */
  readonly phase: string;
  readonly points: readonly Metrics[];
}

export type { Estimate, WinRate };

/** A win rate on one of the paper's criteria: `helpful`, `truthful`, `harmless`. */
export interface CriterionWinRate extends WinRate {
  readonly criterion: string;
}

/** A win rate on one family of instructions. */
export interface FamilyWinRate extends WinRate {
  readonly family: string;
  /** Whether no demonstration, ranking or training prompt is from this family. */
  readonly heldOut: boolean;
}

/** Properties of one model's answers to the test prompts. Fields that were not measured are missing. */
export interface Behaviour {
  readonly model: string;
  /** Sampling temperature; 0: greedy. */
  readonly temperature: number;
  /** Fraction of correct answers. */
  readonly exact?: Estimate;
  /** The judge's mean score. */
  readonly judge?: Estimate;
  /** The reward model's mean score. */
  readonly reward?: number;
  /** Σ k1 per response against the SFT model, nats. */
  readonly kl?: number;
  /** Mean response length, tokens. */
  readonly length?: number;
  /** Fraction of responses that end by themselves. */
  readonly finished?: number;
  /** Distinct answers / answers. */
  readonly distinct?: number;
  /** Fraction of answers with an unrequested polite closing. */
  readonly closings?: number;
}

/** How often a model shows a behaviour on the prompts that test it, e.g. makes up an answer that cannot be known. */
export interface Conduct {
  readonly name: string;
  /** Whether less is better. */
  readonly bad: boolean;
  readonly model: string;
  readonly temperature: number;
  readonly rate: Estimate;
}

/** Exact answers of one model on one family. */
export interface FamilyScore {
  readonly family: string;
  readonly heldOut: boolean;
  readonly model: string;
  readonly temperature: number;
  readonly exact: Estimate;
}

/** A checkpoint of a PPO run: the KL from SFT and the scores. */
export interface PolicyPoint {
  /** `ppo` or `ppo-ptx`. */
  readonly run: string;
  readonly iteration: number;
  /** KL from the SFT model per response, nats. */
  readonly kl: number;
  /** The reward model's mean score, minus that of the SFT model. */
  readonly proxy: number;
  /** The judge's mean score, minus that of the SFT model. */
  readonly gold: number;
}

/** Best of n samples by the reward model (Nakano et al. 2021; see `bestOfN`). */
export interface BestOfN {
  readonly n: number;
  /** ln n - (n - 1) / n, nats. */
  readonly kl: number;
  /** The reward model's mean score, minus that of n = 1. */
  readonly proxy: number;
  /** The judge's mean score, minus that of n = 1. */
  readonly gold: number;
}

/** A fit of Gao et al. 2023: gold = d (α - β d) for best-of-n, d (α - β ln d) for RL, with d = √KL. */
export interface GaoFit {
  /** `best-of-n` or the PPO run's name. */
  readonly of: string;
  readonly form: 'best-of-n' | 'rl';
  readonly alpha: number;
  readonly beta: number;
  /** Fraction of the variance around 0 that the fit explains. */
  readonly r2: number;
  readonly points: number;
}

/** Scores of reward model and judge over the KL from SFT, to detect over-optimisation. */
export interface Overoptimisation {
  readonly policies: readonly PolicyPoint[];
  readonly bestOfN: readonly BestOfN[];
  readonly fits: readonly GaoFit[];
}

/** Checks of the reward model. */
export interface RewardModelCheck {
  /** Fraction of pairs of held-out rankings that it orders like the labelers. */
  readonly labelers: Estimate;
  /** Fraction of the same pairs that it orders like the judge. */
  readonly judge: Estimate;
  /** How often a prompt's own right answer scores above another prompt's right answer. */
  readonly swap: Estimate;
  /** How often the right answer scores above a wrong one of the same form, which tests knowledge rather than form. */
  readonly knowledge?: Estimate;
  /** How often «does not say» scores above a made-up answer when the passage does not give the answer. */
  readonly notTold?: Estimate;
  /** Standard deviation of its scores on SFT samples and on demonstrations. */
  readonly sftScoreStd?: number;
  readonly demonstrationScoreStd?: number;
  /** How often two labelers agree on a pair: about the best it can reach. */
  readonly labelerAgreement?: Estimate;
}

/** One model's answer. */
export interface Answer {
  readonly model: string;
  readonly text: string;
  /** The judge's score. */
  readonly score?: number;
  readonly exact?: boolean;
}

/** One prompt with the answers of several models, side by side. */
export interface Sample {
  readonly prompt: string;
  readonly family?: string;
  /** `train`, `instance`, `template`, `family`: whether it was a training prompt, or what about it is unseen. */
  readonly split?: string;
  readonly answers: readonly Answer[];
}

/** Wall-clock time of one part of the run. */
export interface Timing {
  readonly phase: string;
  readonly seconds: number;
  /** Tokens of all forward passes. */
  readonly tokens?: number;
}

/** A number or text shown at the top of a report. */
export interface Fact {
  readonly name: string;
  readonly value: Estimate | number | string;
  /** A short explanation. */
  readonly note?: string;
}

/** The command, settings and machine of a run. */
export interface Setup {
  readonly seed: number;
  /** The command that reproduces it. */
  readonly command: string;
  /** All options with their defaults. */
  readonly config: unknown;
  /** e.g. `cpu avx512`. */
  readonly device: string;
  readonly threads: number;
  /** heed's version. */
  readonly version: string;
  /** ISO 8601. */
  readonly finishedAt: string;
}

/** A run of `heed align`: base, SFT, reward model, PPO and PPO-ptx, compared by a judge that no phase uses. */
export interface AlignReport {
  readonly kind: 'align';
  readonly setup: Setup;
  /** Notes on the method: number of prompts, ties, intervals; one sentence each. */
  readonly method: readonly string[];
  /** The base model's probes and size. */
  readonly base: readonly Fact[];
  /** How much question-and-answer text the base was trained on, and the examples given to the few-shot base. */
  readonly fewShot: { readonly seen: string; readonly examples: readonly { prompt: string; response: string }[] };
  readonly curves: readonly Curve[];
  /** Overall, at temperature 1. */
  readonly winRates: readonly WinRate[];
  /** Overall, greedy. */
  readonly winRatesGreedy: readonly WinRate[];
  /** At temperature 1. */
  readonly winRatesByCriterion: readonly CriterionWinRate[];
  /** At temperature 1. */
  readonly winRatesByFamily: readonly FamilyWinRate[];
  readonly behaviour: readonly Behaviour[];
  readonly conduct: readonly Conduct[];
  readonly exactByFamily: readonly FamilyScore[];
  readonly rewardModel: RewardModelCheck;
  readonly overoptimisation: Overoptimisation;
  /** Mean loss on held-out prose, nats per token: the alignment tax. */
  readonly proseLoss: readonly { readonly model: string; readonly loss: number }[];
  readonly samples: { readonly rule: string; readonly items: readonly Sample[] };
  readonly timing: readonly Timing[];
}

/** A run of one phase: `heed sft`, `reward`, `ppo` and the others. */
export interface PhaseReport {
  readonly kind: 'phase';
  readonly phase: string;
  readonly about: RunAbout;
  /** `RUN/config.json`. */
  readonly config: unknown;
  /** What came of it, in one sentence; missing before the first step. */
  readonly verdict?: string | undefined;
  /** What speaks against the result, the gravest first. */
  readonly warnings: readonly string[];
  /** The run's key numbers; a fraction of held-out items with its interval. */
  readonly summary: readonly Fact[];
  readonly changes: readonly Change[];
  readonly curves: readonly Curve[];
  /** `RUN/samples.jsonl` if it exists: a {@link Sample} per line. */
  readonly samples: readonly Sample[];
}

/** Which run it is. */
export interface RunAbout {
  /** The run folder's name. */
  readonly run: string;
  /** The model that it started from. */
  readonly model?: string | undefined;
  readonly command?: string | undefined;
  /** heed's version. */
  readonly version?: string | undefined;
  /** When its last step was written, ISO 8601. */
  readonly date?: string | undefined;
}

/** A metric at the beginning and at the end: means of a tenth of its values, at most five. */
export interface Change {
  readonly name: string;
  readonly first: number;
  readonly last: number;
  /** Whether it is a fraction. */
  readonly share?: boolean | undefined;
}

export type Report = AlignReport | PhaseReport;
