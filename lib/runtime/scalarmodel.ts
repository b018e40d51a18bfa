/** Models with a scalar head: scores. */
import { type Abortable, run } from '../core/native.js';
import { openModel, readConfig, wrongKind } from '../huggingface/folder.js';
import { type HfConfig, type ModelConfig, withPad } from '../huggingface/modelconfig.js';
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
  readParameters,
} from './basemodel.js';
import { beforePadding, type PackedBatch } from './batch.js';
import type { Engine } from './engine.js';
import { modelHandle } from './handles.js';
import { LanguageModel } from './languagemodel.js';
import { ScalarTrainer, type TrainerOptions } from './trainer.js';

/** A transformer with a scalar head: a reward model, evaluated at the end of each response, or a value function, at every token. */
export class ScalarModel extends Model {
  /** A model with random weights. */
  static async init(engine: Engine, config: ModelConfig, options: InitOptions): Promise<ScalarModel> {
    const specialTokens = withPad(options.specialTokens ?? {}, config.vocabSize);
    const model = new ScalarModel(engine, { config, specialTokens }, 'scalar', { int8: options.int8 });
    return await disposeOnFailure(model, initialize(model, options));
  }

  /**
   * Loads a Hugging Face folder of a family's …ForSequenceClassification with one label.
   * @throws DataError that names the file and the key or tensor that is wrong; HeedError ERR_IO when a file cannot be read
   */
  static async load(engine: Engine, dir: string, options: LoadOptions = {}): Promise<ScalarModel> {
    const { kind } = await readConfig(dir);
    const { adapter, ...others } = options;
    if (kind !== 'scalar' && adapter !== undefined) {
      const base = await LanguageModel.load(engine, dir, others);
      return await adapted(base, adapter, (o) => base.scalarAdapter(o), options);
    }
    if (kind !== 'scalar')
      throw wrongKind(dir, 'a language head: load it with LanguageModel.load() or ScalarModel.loadOrFrom()');
    const files = await openModel(dir);
    const make = () => new ScalarModel(engine, files.info, 'scalar', { folder: dir, int8: options.int8 });
    const model = namingConfigFile(dir, files.info, make);
    await disposeOnFailure(model, readParameters(model, files, options));
    return adapter === undefined ? model : await adapted(model, adapter, (o) => model.adapter(o), options);
  }

  /**
   * The trunk of a language model with a fresh head: weights normal with variance 1 / (channels + 1) (Ziegler et al. 2019, their code).
   * Of an adapter, an adapter to the same base.
   * @param options seed: of the head's weights
   */
  static async from(model: LanguageModel, options: InitOptions): Promise<ScalarModel> {
    const { config, engine } = model;
    const specialTokens = withPad(options.specialTokens ?? model.specialTokens, config.vocabSize);
    const scalar = new ScalarModel(engine, { config, specialTokens }, 'scalar', adaptedOf(model));
    const copy = async () => {
      await initialize(scalar, options);
      await run(options.signal, () => modelHandle(scalar).copyFrom(modelHandle(model)));
    };
    return await disposeOnFailure(scalar, copy());
  }

  /** Loads a folder with a scalar head; for a language model's folder, its trunk with a fresh head. */
  static async loadOrFrom(engine: Engine, dir: string, options: InitOptions & LoadOptions): Promise<ScalarModel> {
    const { kind } = await readConfig(dir);
    if (kind === 'scalar') return await ScalarModel.load(engine, dir, options);
    const language = await LanguageModel.load(engine, dir, options);
    try {
      return await ScalarModel.from(language, options);
    } finally {
      await language.dispose();
    }
  }

  /** An independent copy on the same engine; of an adapter, another adapter to the same base. */
  async clone(options: Abortable = {}): Promise<ScalarModel> {
    const { folder, int8 } = this;
    const copy = new ScalarModel(this.engine, this, 'scalar', { ...adaptedOf(this), folder, int8 });
    return await disposeOnFailure(copy, copy.copyFrom(this, options));
  }

  /** An adapter to this model, as {@link LanguageModel.adapter}; a new one begins with this model's head. */
  async adapter(options: AdapterOptions): Promise<ScalarModel> {
    return await ScalarModel.adapt(this, options);
  }

  /** @internal */
  static async adapt(base: LanguageModel | ScalarModel, options: AdapterOptions): Promise<ScalarModel> {
    const { config, engine } = base;
    const { lora, folder } = await adapterOf(base, 'scalar', options);
    const specialTokens = withPad(base.specialTokens, config.vocabSize);
    const model = new ScalarModel(engine, { config, specialTokens }, 'scalar', { adapted: { base, lora } });
    const begin = async () => {
      await beginAdapter(model, folder, options);
      // the head, which is its own
      if (!folder) await run(options.signal, () => modelHandle(model).copyFrom(modelHandle(base)));
    };
    return await disposeOnFailure(model, begin());
  }

  /** A model without an adapter that computes the same, within rounding; see {@link LanguageModel.merge}. */
  async merge({ signal }: Abortable = {}): Promise<ScalarModel> {
    requireAdapter(this);
    const merged = new ScalarModel(this.engine, this, 'scalar');
    const move = async () => {
      await run(signal, () => modelHandle(merged).merge(modelHandle(this)));
    };
    return await disposeOnFailure(merged, move());
  }

  /**
   * (R) the head's output at each of the batch's rows. A row at the end of a sequence is read before its padding tokens
   * (`specialTokens.pad`), as transformers does: a model that was trained with its end-of-text token as padding scores a response
   * before that token.
   */
  scores(batch: PackedBatch, { signal }: Abortable = {}): Promise<Float32Array> {
    return run(signal, () => modelHandle(this).scores(beforePadding(batch, this.specialTokens.pad)));
  }

  /**
   * Adds `delta` to every score. It goes into the bias of the final norm (GPT-2), so that transformers gives the same score; an
   * RMSNorm has no bias, and an adapter does not change its base's, so there it is kept as {@link scoreOffset} and saved as
   * `heed.score_offset` in `config.json`, or in the header of the adapter's file.
   */
  shiftScores(delta: number, { signal }: Abortable = {}): Promise<void> {
    if (!Number.isFinite(delta)) return Promise.reject(new RangeError(`delta is ${delta}, expected a finite number`));
    return run(signal, () => modelHandle(this).shiftScores(delta));
  }

  /** Multiplies every score by `factor`: the head's weights and {@link scoreOffset}. */
  scaleScores(factor: number, { signal }: Abortable = {}): Promise<void> {
    if (!Number.isFinite(factor))
      return Promise.reject(new RangeError(`factor is ${factor}, expected a finite number`));
    return run(signal, () => modelHandle(this).scaleScores(factor));
  }

  /** Added to every score where the final norm has no bias; else 0. */
  scoreOffset(): Promise<number> {
    return run(undefined, () => modelHandle(this).scoreOffset());
  }

  /** Gradients and AdamW state for this model. @throws HeedError ERR_OUT_OF_MEMORY, or ERR_INVALID_ARGUMENT for an option */
  trainer(options: TrainerOptions = {}): Promise<ScalarTrainer> {
    return ScalarTrainer.create(modelHandle(this), options, this.engine.info.dtype, this.specialTokens.pad);
  }

  protected async describe(): Promise<HfConfig> {
    const scoreOffset = await this.scoreOffset();
    return { config: this.config, kind: 'scalar', specialTokens: this.specialTokens, scoreOffset };
  }
}
