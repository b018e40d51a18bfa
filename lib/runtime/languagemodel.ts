/** Models with a language head: log-probabilities and generation. */
import { type Abortable, run } from '../core/native.js';
import { openModel, readConfig, wrongKind } from '../huggingface/folder.js';
import type { HfConfig, ModelConfig } from '../huggingface/modelconfig.js';
import { type AdapterOptions, adaptedOf, adapterOf, requireAdapter } from './adapter.js';
import {
  adapted,
  beginAdapter,
  disposeOnFailure,
  type InitOptions,
  initialize,
  type LoadOptions,
  Model,
  namingConfigFile,
  placeOf,
  readParameters,
} from './basemodel.js';
import type { PackedBatch } from './batch.js';
import type { Engine } from './engine.js';
import {
  type Completion,
  type GenerateOptions,
  type GenerateRequest,
  generate,
  type StreamedToken,
  stream,
} from './generate.js';
import { modelHandle } from './handles.js';
import { ScalarModel } from './scalarmodel.js';
import { schedulerOf } from './scheduler.js';
import { LanguageTrainer, type TrainerOptions } from './trainer.js';

/** From {@link LanguageModel.keepCache}. */
export interface KeptCache extends AsyncDisposable {
  /** Frees the cache, when no call runs. A second call does nothing. */
  dispose(): Promise<void>;
}

/** A transformer with a language-model head. */
export class LanguageModel extends Model {
  /**
   * A model with random weights (GPT-2's initialisation).
   * @throws HeedError ERR_INVALID_ARGUMENT that names the invalid field of `config`; ERR_OUT_OF_MEMORY
   */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<LanguageModel> {
    const { specialTokens = {}, int8 } = options;
    const model = new LanguageModel(engine, { config, specialTokens }, 'language', { int8 });
    return await disposeOnFailure(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of a language model of one of the {@link familyNames}: `config.json` and `model.safetensors`, or the
   * several files that `model.safetensors.index.json` names, in F32, BF16 or F16.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<LanguageModel> {
    if ((await readConfig(dir)).kind !== 'language')
      throw wrongKind(dir, 'a scalar head: load it with ScalarModel.load()');
    const files = await openModel(dir);
    const make = () => new LanguageModel(engine, files.info, 'language', { folder: dir, int8: options.int8 });
    const model = namingConfigFile(dir, files.info, make);
    await disposeOnFailure(model, readParameters(model, files, options));
    return options.adapter === undefined
      ? model
      : await adapted(model, options.adapter, (o) => model.adapter(o), options);
  }

  /** An independent copy on the same engine; of an adapter, another adapter to the same base. */
  async clone(options: Abortable = {}): Promise<LanguageModel> {
    const { folder, int8 } = this;
    const copy = new LanguageModel(this.engine, this, 'language', { ...adaptedOf(this), folder, int8 });
    return await disposeOnFailure(copy, copy.copyFrom(this, options));
  }

  /**
   * An adapter to this model (LoRA, Hu et al. 2021), itself a model that can be trained, saved and used like any other. It shares this
   * model's parameters, which it does not change. A new one changes nothing yet.
   * @throws RangeError for an invalid option; DataError naming the file and the tensor, for a folder of another base
   */
  async adapter(options: AdapterOptions): Promise<LanguageModel> {
    const { lora, folder } = await adapterOf(this, 'language', options);
    const model = new LanguageModel(this.engine, this, 'language', { adapted: { base: this, lora } });
    return await disposeOnFailure(model, beginAdapter(model, folder, options));
  }

  /** As {@link adapter}, with a scalar head of its own: a reward model or a value function that shares this model's parameters. */
  async scalarAdapter(options: AdapterOptions): Promise<ScalarModel> {
    return await ScalarModel.adapt(this, options);
  }

  /** A model without an adapter that computes the same, within rounding: the base's parameters plus the adapter's terms. */
  async merge({ signal }: Abortable = {}): Promise<LanguageModel> {
    requireAdapter(this);
    const merged = new LanguageModel(this.engine, this, 'language');
    return await disposeOnFailure(
      merged,
      run(signal, () => modelHandle(merged).merge(modelHandle(this))),
    );
  }

  /** (R, V) next-token logits at the batch's rows, row-major. */
  logits(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).logits(batch));
  }

  /**
   * Log-probability of each row's target, and the entropy of the row's distribution.
   *
   * @param options temperature: logits are divided by it; default 1
   * @returns (R) nats each
   */
  logprobs(
    batch: PackedBatch,
    options: Abortable & { readonly temperature?: number | undefined } = {},
  ): Promise<{ logprobs: Float32Array; entropy: Float32Array }> {
    const { temperature = 1, signal } = options;
    return run(signal, () => modelHandle(this).logprobs(batch, { temperature }));
  }

  /**
   * Samples responses. A response depends only on its prompt, seed, sample index and options, not on the rest of the batch, which calls
   * that run at the same time share, of this model, of its base and of all adapters to that: each joins between two tokens of the others.
   * When the parameters change meanwhile (a trainer's step),
   * the remaining tokens are sampled with the new ones, from a cache that is computed anew.
   * @returns ordered by request, then by sample
   * @throws RangeError that names the request; HeedError
   */
  generate(requests: readonly GenerateRequest[], options: GenerateOptions): Promise<Completion[]> {
    return generate({ config: this.config, ...placeOf(this) }, requests, options);
  }

  /**
   * Streams the tokens of responses as they are sampled; they are those of {@link generate}. Decoding pauses while the reader does,
   * and `break` ends it.
   */
  stream(requests: readonly GenerateRequest[], options: GenerateOptions): AsyncGenerator<StreamedToken, void, void> {
    return stream({ config: this.config, ...placeOf(this) }, requests, options);
  }

  /**
   * Keeps the cache of keys and values between calls of {@link generate} and {@link stream} until it is disposed of: a prompt that
   * begins as an earlier prompt and its response did is computed from where they differ, with the same bits. For the turns of a
   * dialogue, and prompts with one system message. Without it the cache is freed when the last call ends.
   *
   * @param options slots: responses decoded at the same time by all calls together, at most; default 64
   */
  keepCache({ slots = 64 }: { readonly slots?: number | undefined } = {}): KeptCache {
    if (!Number.isSafeInteger(slots) || slots < 1 || slots > 65536)
      throw new RangeError(`slots is ${slots}, expected a whole number from 1 to 65536`);
    const place = placeOf(this);
    const release = schedulerOf(place, this.config.maxPositions).hold(slots, place.adapter);
    const dispose = async () => release();
    return { dispose, [Symbol.asyncDispose]: dispose };
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<LanguageTrainer> {
    return LanguageTrainer.create(modelHandle(this), options, this.engine.info.dtype, this.lora?.dropout ?? 0);
  }

  protected async describe(): Promise<HfConfig> {
    return { config: this.config, kind: 'language', specialTokens: this.specialTokens, scoreOffset: 0 };
  }
}
