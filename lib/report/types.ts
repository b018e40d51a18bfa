/** What a report holds: `RUN/report.json` is one of these, and `RUN/report.html` shows nothing that is not in it. */

/** One line of `metrics.jsonl`, its numbers only: `step`, `loss` and what else the phase measures. */
export type Metrics = { readonly step: number } & Readonly<Record<string, number>>;

/** The metrics of one phase, in order of step. */
export interface Curve {
  /** `sft`, `reward`, `ppo`, `ppo-ptx`, `pretrain`. */
  readonly phase: string;
  readonly points: readonly Metrics[];
}

/** An estimate with its 95 % interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** What it is a mean over: prompts, pairs, answers. */
  readonly count: number;
}

/** How often one model's answer is preferred to another's on the same prompt; a tie is half a win for each. */
export interface WinRate {
  readonly model: string;
  readonly against: string;
  /** (wins + ties / 2) / (wins + ties + losses) */
  readonly rate: number;
  /** 95 % interval. */
  readonly low: number;
  readonly high: number;
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
}

/** A win rate on one of the paper's criteria: `helpful`, `truthful`, `harmless`. */
export interface CriterionWinRate extends WinRate {
  readonly criterion: string;
}

/** A win rate on one family of instructions. */
export interface FamilyWinRate extends WinRate {
  readonly family: string;
  /** No demonstration, ranking or training prompt was from this family. */
  readonly heldOut: boolean;
}

/** What one model's answers to the test prompts are like. Everything but `model` and `temperature` is left out where it was not measured. */
export interface Behaviour {
  readonly model: string;
  /** 0: greedy. */
  readonly temperature: number;
  /** Share of right answers. */
  readonly exact?: Estimate;
  /** The judge's mean score. */
  readonly judge?: Estimate;
  /** The reward model's mean score. */
  readonly reward?: number;
  /** Σ k1 per response against the SFT model, nats. */
  readonly kl?: number;
  /** Mean response length, tokens. */
  readonly length?: number;
  /** Share of responses that end by themselves. */
  readonly finished?: number;
  /** Different answers / answers. */
  readonly distinct?: number;
  /** Share of answers that end in a polite closing nobody asked for. */
  readonly closings?: number;
}

/** How often a model does something good or bad where the occasion is given, e.g. makes up an answer nobody can know. */
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

/** A checkpoint of a PPO run: what the policy has spent and what it got for it. */
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

/** Best of n samples by the reward model (Nakano et al. 2021; `bestOfN` estimates it without bias). */
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
  /** Share of the variance around 0 that the fit explains. */
  readonly r2: number;
  readonly points: number;
}

/** Proxy reward and judge against what was spent in KL: where over-optimisation would show. */
export interface Overoptimisation {
  readonly policies: readonly PolicyPoint[];
  readonly bestOfN: readonly BestOfN[];
  readonly fits: readonly GaoFit[];
}

/** Whether the reward model can be trusted. */
export interface RewardModelCheck {
  /** Pairs of held-out rankings it orders as the labelers did. */
  readonly labelers: Estimate;
  /** The same pairs, as the judge orders them. */
  readonly judge: Estimate;
  /** How often a prompt's own right answer scores above another prompt's right answer. */
  readonly swap: Estimate;
  /** How often the right answer scores above a wrong one of the same form: knowing what is true, not what a good answer looks like. */
  readonly knowledge?: Estimate;
  /** How often, where the passage does not tell, saying so scores above an answer made up. */
  readonly notTold?: Estimate;
  /** Standard deviation of its scores on samples of the SFT model and on demonstrations. */
  readonly sftScoreStd?: number;
  readonly demonstrationScoreStd?: number;
  /** How often two labelers agree on a pair: what can be expected of it. */
  readonly labelerAgreement?: Estimate;
}

/** What one model answered. */
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
  /** `train`, `instance`, `template`, `family`: why it cannot have been trained on. */
  readonly split?: string;
  readonly answers: readonly Answer[];
}

/** Wall-clock time of one part of the run. */
export interface Timing {
  readonly phase: string;
  readonly seconds: number;
  /** Tokens that went through a trunk forward. */
  readonly tokens?: number;
}

/** A number, or a line of text, worth a line at the top of a report. */
export interface Fact {
  readonly name: string;
  readonly value: Estimate | number | string;
  /** What it means, in a few words. */
  readonly note?: string;
}

/** Where and with what a run was made. */
export interface Setup {
  readonly seed: number;
  /** The command that makes it again. */
  readonly command: string;
  /** What was run, every option resolved. */
  readonly config: unknown;
  /** e.g. `cpu avx512`. */
  readonly device: string;
  readonly threads: number;
  /** heed's version. */
  readonly version: string;
  /** ISO 8601. */
  readonly finishedAt: string;
}

/** A run of `heed align`: base, SFT, reward model, PPO and PPO-ptx, compared by a judge that no phase sees. */
export interface AlignReport {
  readonly kind: 'align';
  readonly setup: Setup;
  /** How many prompts the judge saw, how ties are decided, how intervals are made: one sentence each. */
  readonly method: readonly string[];
  /** The base model's probes and size. */
  readonly base: readonly Fact[];
  /** What the base has seen of questions followed by answers, and the examples the few-shot base is given. */
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

/** A run of one phase: `heed sft`, `reward`, `ppo` or `pretrain`. */
export interface PhaseReport {
  readonly kind: 'phase';
  readonly phase: string;
  /** `RUN/config.json`. */
  readonly config: unknown;
  /** Results of the run: the last metrics, and `RUN/summary.json` where the phase wrote one. */
  readonly summary: readonly Fact[];
  readonly curves: readonly Curve[];
  /** `RUN/samples.jsonl` where the phase wrote one: a {@link Sample} per line. */
  readonly samples: readonly Sample[];
}

export type Report = AlignReport | PhaseReport;
