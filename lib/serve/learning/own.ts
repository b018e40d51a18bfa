/** Which answers in the file are the trained model's own: the file may have those of adapters, of other runs and of other programs. */
import { packResponses } from '../../runtime/batch.js';
import type { LanguageModel } from '../../runtime/model.js';

/** What an answer's row says of how it was sampled. */
export interface SampledRow {
  /** Of the table `responses`. */
  readonly response: number;
  readonly model: string;
  readonly prompt_tokens: Uint8Array;
  readonly tokens: Uint8Array;
  readonly logprobs: Uint8Array | null;
  /** JSON. */
  readonly sampling: string;
}

/** Whether an answer is the trained model's own. */
export type IsOwn = (row: SampledRow) => Promise<boolean>;

/** The model that is trained. */
export interface Trained {
  /** What the model without versions is called. */
  readonly name: string;
  readonly given: LanguageModel;
  /** What its versions are called. */
  readonly versions: ReadonlySet<string>;
  /** The version that is trained further. */
  readonly served: LanguageModel;
}

/** Mean difference in nats: more than devices and number formats make, less than training does. */
const kSame = 0.02;

/**
 * An answer is the model's own if its name is that of a version, or if the log-probabilities that were kept with it are those of the
 * given model or, under an unknown name, of the served version. So what the model was called before does not matter, and what another
 * model answered under its name is not learnt from.
 */
export class OwnAnswers {
  // Rows do not change: each is computed once.
  readonly #known = new WeakMap<LanguageModel, Map<number, boolean>>();

  of({ name, given, versions, served }: Trained, signal: AbortSignal): IsOwn {
    return async (row) => {
      if (versions.has(row.model)) return true;
      // Without log-probabilities there is the name alone.
      if (row.logprobs?.length !== row.tokens.length) return row.model === name;
      if (await this.#isSampledBy(given, row, signal)) return true;
      return row.model !== name && (await this.#isSampledBy(served, row, signal));
    };
  }

  async #isSampledBy(model: LanguageModel, row: SampledRow, signal: AbortSignal): Promise<boolean> {
    const known = this.#known.get(model) ?? new Map<number, boolean>();
    this.#known.set(model, known);
    const found = known.get(row.response) ?? (await isSampledBy(model, row, signal));
    known.set(row.response, found);
    return found;
  }
}

async function isSampledBy(model: LanguageModel, row: SampledRow, signal: AbortSignal): Promise<boolean> {
  const tree = { prompt: ints(row.prompt_tokens), responses: [ints(row.tokens)] };
  const kept = new Float32Array(row.logprobs!.slice().buffer);
  // Greedy sampling keeps those of temperature 1.
  const temperature = Number((JSON.parse(row.sampling) as { temperature?: unknown }).temperature) || 1;
  const { logprobs } = await model.logprobs(packResponses([tree]), { temperature, signal });
  return logprobs.reduce((sum, logprob, i) => sum + Math.abs(logprob - kept[i]!), 0) / logprobs.length < kSame;
}

/** Ids of a column. */
export const ints = (blob: Uint8Array): Int32Array => new Int32Array(blob.slice().buffer);
