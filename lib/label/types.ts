/** What the labelling page and its server say to each other. */

/** How answers are given: all ranked, one of two chosen, each good or bad, or an answer written. */
export type Mode = 'rank' | 'pair' | 'thumb' | 'demonstrate';

/** What is said of one output besides its rating: table 3 of Ouyang et al. 2022. */
export const flags = [
  ['failsInstruction', 'Fails to follow the correct instruction or task'],
  ['inappropriate', 'Inappropriate for a customer assistant'],
  ['hallucination', 'Hallucination: states what is not so'],
  ['satisfiesConstraint', 'Satisfies the constraint given in the instruction'],
  ['sexual', 'Contains sexual content'],
  ['violent', 'Contains violent content'],
  ['encouragesHarm', 'Encourages violence, abuse, terrorism or self-harm, or fails to discourage it'],
  ['denigrates', 'Denigrates a protected class'],
  ['harmfulAdvice', 'Gives harmful advice'],
  ['opinion', 'Expresses an opinion'],
  ['moralJudgement', 'Expresses a moral judgement'],
] as const;
export type Flag = (typeof flags)[number][0];

/** The best rating; 1 is the worst. */
export const kBestRating = 7;

/** One output judged alone. */
export interface Rating {
  /** 1 to 7. */
  readonly rating: number;
  readonly flags: readonly Flag[];
}

/** What a labeler says of a task. Lists are in the order in which the responses are shown. */
export interface Answer {
  /** (K) */
  readonly ratings?: readonly Rating[] | undefined;
  /** (K) 0 is best, equal ranks are ties. */
  readonly ranks?: readonly number[] | undefined;
  /** (K) whether each is good. */
  readonly thumbs?: readonly boolean[] | undefined;
  /** What the labeler wrote. */
  readonly text?: string | undefined;
  /** Which response the labeler changed into `text`, by its place. */
  readonly edited?: number | undefined;
  /** 1 to 3. */
  readonly confidence?: number | undefined;
  /** In which the page was visible and used. */
  readonly seconds?: number | undefined;
}

/** An answer as far as it is given: null for what is not. */
export interface Draft {
  readonly ratings?:
    | readonly ({ readonly rating: number | null; readonly flags: readonly Flag[] } | null)[]
    | undefined;
  readonly ranks?: readonly (number | null)[] | undefined;
  readonly thumbs?: readonly (boolean | null)[] | undefined;
  readonly text?: string | undefined;
  readonly edited?: number | undefined;
  readonly confidence?: number | undefined;
  readonly seconds?: number | undefined;
  /** The output shown: 0 to K - 1 alone, K when all are ranked. */
  readonly step?: number | undefined;
}

export type ShownPrompt = string | readonly { readonly role: string; readonly content: string }[];

export interface Task {
  readonly id: number;
  readonly prompt: ShownPrompt;
  /** (K) texts, in the labeler's own order. */
  readonly responses: readonly string[];
  readonly draft: Draft | null;
}

/** What a labeler is to do next. */
export type Next =
  | { readonly task: Task }
  /** Nothing now: responses are still being sampled, or everything is labelled. */
  | {
      readonly waiting: 'sampling' | 'done';
      /** Prompts that are not shown because they have too few distinct responses. */
      readonly unusable: number;
    };

export interface Progress {
  /** By this labeler. */
  readonly done: number;
  readonly skipped: number;
  /** Prompts that this labeler can still label, with the one on the screen. */
  readonly left: number;
}

export interface Session {
  readonly labeler: string;
  readonly isOwner: boolean;
  readonly mode: Mode;
  /** Whether each output is rated alone before all are ranked. */
  readonly rates: boolean;
  readonly flags: readonly (readonly [Flag, string])[];
  /** Markdown. */
  readonly guidelines: string;
  readonly progress: Progress;
  readonly canUndo: boolean;
}

/** A number with its 95 % interval. */
export interface Measured {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/** One labeler's work. Shares are undefined where nothing can be compared. */
export interface LabelerRow {
  readonly name: string;
  readonly done: number;
  readonly skipped: number;
  /** Median. */
  readonly seconds: number | undefined;
  /** With other labelers, over pairs of responses. */
  readonly agreement: Measured | undefined;
  /** On items shown twice. */
  readonly self: Measured | undefined;
  /** Attention items whose known order was found. */
  readonly attention: { readonly passed: number; readonly shown: number };
  /** Of the own ratings and rankings, over pairs of responses. */
  readonly ratings: Measured | undefined;
}

export interface Disagreement {
  readonly prompt: ShownPrompt;
  readonly responses: readonly string[];
  /** Each labeler's ranks, in the order of `responses`; null for one that the labeler did not see. */
  readonly labels: readonly { readonly labeler: string; readonly ranks: readonly (number | null)[] }[];
  /** Share of the pairs of responses that two labelers order alike. */
  readonly agreement: number;
}

/** A point of the learning curve. */
export interface Learnt {
  /** Rankings that the reward model was trained on. */
  readonly labels: number;
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  readonly pairs: number;
}

export interface Overview {
  /** When the file was looked through, milliseconds since 1970. */
  readonly at: number;
  readonly mode: Mode;
  readonly items: {
    readonly total: number;
    readonly waiting: number;
    readonly ready: number;
    readonly unusable: number;
    /** Labelled by as many people as wanted. */
    readonly finished: number;
  };
  readonly labels: number;
  readonly skips: readonly { readonly reason: string; readonly count: number }[];
  readonly labelers: readonly LabelerRow[];
  readonly agreement: Measured | undefined;
  readonly agreementWithoutTies: Measured | undefined;
  /** Krippendorff's, of ranks as ordinal values. */
  readonly alpha: Measured | undefined;
  readonly self: Measured | undefined;
  readonly ratings: Measured | undefined;
  readonly disagreements: readonly Disagreement[];
  readonly learning: {
    readonly isOn: boolean;
    readonly isTraining: boolean;
    readonly curve: readonly Learnt[];
    /** Why it stopped. */
    readonly failure?: string | undefined;
  };
}
