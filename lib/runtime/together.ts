/** Batches of several models that share one base, computed in the same passes. */
import { type Abortable, native, run } from '../core/native.js';
import { beforePadding, type PackedBatch } from './batch.js';
import { modelHandle } from './handles.js';
import { type LanguageModel, ScalarModel } from './model.js';

/** Log-probabilities of a batch, as of {@link LanguageModel.logprobs}. */
export interface LogprobsRequest {
  readonly model: LanguageModel;
  readonly batch: PackedBatch;
  /** Logits are divided by it; default 1. */
  readonly temperature?: number | undefined;
}

/** Scores of a batch, as of {@link ScalarModel.scores}. */
export interface ScoresRequest {
  readonly model: ScalarModel;
  readonly batch: PackedBatch;
}

/** (R) each: nats and nats of a language model, or scores of a scalar model. */
export type TogetherResult<Request> = Request extends LogprobsRequest
  ? { readonly logprobs: Float32Array; readonly entropy: Float32Array }
  : Float32Array;

/**
 * Log-probabilities and scores of several models that share one base, itself or adapters to it: policy, reference, value network and
 * reward model of PPO, or the sequences of one batch each under an adapter of its own. All batches are computed in the same passes: the
 * base's weights are read and multiplied with once for all rows, and each adapter's terms are added to its rows. Each result is what
 * `logprobs` or `scores` gives for its request alone, bit for bit.
 *
 *     const [{ logprobs }, { logprobs: refLogprobs }, rewards] = await computeTogether([
 *       { model: policy, batch },
 *       { model: policy.base, batch },
 *       { model: reward, batch: packScores(trees) },
 *     ]);
 *
 * @returns in the order of the requests
 * @throws HeedError ERR_INVALID_ARGUMENT that names the request whose model has another base, or whose batch is not valid
 */
export async function computeTogether<const Requests extends readonly (LogprobsRequest | ScoresRequest)[]>(
  requests: Requests,
  { signal }: Abortable = {},
): Promise<{ -readonly [I in keyof Requests]: TogetherResult<Requests[I]> }> {
  const given = requests.map(({ model, batch, ...options }) => ({
    model: modelHandle(model),
    batch: model instanceof ScalarModel ? beforePadding(batch, model.specialTokens.pad) : batch,
    temperature: (options as Partial<LogprobsRequest>).temperature ?? 1,
  }));
  if (given.length === 0) return [] as never;
  const results = await run(signal, () => native().computeTogether(given));
  return results.map(({ values, entropy }, i) =>
    requests[i]!.model instanceof ScalarModel ? values : { logprobs: values, entropy },
  ) as never;
}
