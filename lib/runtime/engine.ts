import type * as addon from '../../bindings/addon.js';
import { type Abortable, call, native, translate } from '../core/native.js';

export interface EngineOptions extends Abortable {
  /** Where it computes: 'cpu', 'cuda', or 'auto' for the GPU where there is one and else the CPU. Default: 'cpu'. */
  readonly device?: 'cpu' | 'cuda' | 'auto' | undefined;
  /**
   * Number format of parameters and activations. Default: 'f32'. With 'bf16' they take half the memory; sums,
   * statistics, gradients of parameters and the optimizer's weights and moments stay float32, and models are saved in bfloat16.
   */
  readonly dtype?: 'f32' | 'bf16' | undefined;
  /** Threads that compute, the engine's own among them. Default: the CPUs this process may use; `HEED_THREADS` in the environment goes before it. */
  readonly threads?: number | undefined;
  /** Instruction-set level of the CPU: 'avx512_bf16', 'avx512', 'avx2' or 'portable'. Default: the best this machine has, or `HEED_CPU`. Other levels round otherwise. */
  readonly level?: string | undefined;
  /**
   * Tokens of one pass. Default 4096. A larger batch runs in several passes with the same result; a prompt with all its
   * responses must fit into one.
   */
  readonly maxTokens?: number | undefined;
}

export interface EngineInfo {
  /** Device and instruction-set level: 'cpu avx512'. */
  readonly device: string;
  readonly dtype: 'f32' | 'bf16';
  readonly threads: number;
  readonly maxTokens: number;
}

/** What an engine has done and holds. */
export interface EngineUsage {
  /** Tokens that went through a model's forward pass since the engine was made; a shared prompt counts once. */
  readonly tokensComputed: number;
  readonly parameterBytes: number;
  /** Gradients and AdamW's moments, and with bf16 its float32 weights. */
  readonly optimizerBytes: number;
  /** Keys and values of generation. */
  readonly cacheBytes: number;
  /** Activations and scratch. */
  readonly arenaBytes: number;
  /** Weights laid out for the matrix kernels. */
  readonly packedBytes: number;
}

const handles = new WeakMap<Engine, addon.Engine>();

/** The native half. @throws TypeError when it is not an Engine */
export function engineHandle(engine: Engine): addon.Engine {
  const handle = handles.get(engine);
  if (!handle) throw new TypeError('engine is not an Engine of heed: make one with Engine.create()');
  return handle;
}

/**
 * One device and one compute thread. Everything made from an engine runs on it, in the order of the calls, off the JavaScript
 * thread.
 */
export class Engine implements AsyncDisposable {
  readonly info: EngineInfo;
  #end: Promise<void> | undefined;

  private constructor(handle: addon.Engine) {
    this.info = Object.freeze(handle.info());
    handles.set(this, handle);
  }

  /**
   * @throws HeedError ERR_INVALID_ARGUMENT for a device, dtype, thread count or level that does not exist, ERR_DEVICE for a GPU that
   *   cannot be used
   */
  static async create(options: EngineOptions = {}): Promise<Engine> {
    options.signal?.throwIfAborted();
    const { device = 'cpu', dtype = 'f32', threads = threadsOfEnvironment(), level = '', maxTokens = 4096 } = options;
    return call(() => new Engine(new (native().Engine)({ device, dtype, threads, level, maxTokens })));
  }

  /**
   * The memory that work on an engine takes, found by the engine itself: `work` is given one that runs every check and takes no memory
   * and computes nothing (losses are 0, models have no weights), and the most that it would have held is returned.
   *
   * @param options of the engine that the work is meant for
   * @param work makes models and trainers and runs the largest passes
   */
  static async plan(options: EngineOptions, work: (engine: Engine) => Promise<unknown>): Promise<EngineUsage> {
    options.signal?.throwIfAborted();
    const { device = 'cpu', dtype = 'f32', threads = threadsOfEnvironment(), level = '', maxTokens = 4096 } = options;
    const engine = call(
      () => new Engine(new (native().Engine)({ device, dtype, threads, level, maxTokens, plan: true })),
    );
    try {
      await work(engine);
      return engine.usage();
    } finally {
      await engine.dispose();
    }
  }

  /** @throws HeedError ERR_DISPOSED */
  usage(): EngineUsage {
    return call(() => engineHandle(this).usage());
  }

  /**
   * Cancels what is running, disposes of all models and trainers of this engine and gives their memory back; resolves when that is
   * done. Calls that were pending reject with ERR_DISPOSED, and so do all later ones.
   */
  dispose(): Promise<void> {
    this.#end ??= engineHandle(this)
      .dispose()
      .catch((cause: unknown) => {
        throw translate(cause);
      });
    return this.#end;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function threadsOfEnvironment(): number {
  const text = process.env.HEED_THREADS;
  if (text === undefined || text === '') return 0;
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 0)
    throw new RangeError(`HEED_THREADS is ${text}, expected a whole number`);
  return threads;
}
