import type * as addon from '../../bindings/addon.js';
import { cudaModule } from '../core/cuda.js';
import { type Abortable, call, native, run, translate } from '../core/native.js';

export interface EngineOptions extends Abortable {
  /**
   * Where it computes: 'cpu', 'cuda', or 'auto' for a GPU if there is one, else the CPU ({@link EngineInfo.fallback} says why).
   * Default: 'cpu'.
   */
  readonly device?: 'cpu' | 'cuda' | 'auto' | undefined;
  /**
   * Number format of parameters and activations. Default: 'f32'. 'bf16' halves their memory; sums,
   * statistics, gradients of parameters and the optimizer's weights and moments stay float32, and models are saved in bfloat16.
   */
  readonly dtype?: 'f32' | 'bf16' | undefined;
  /** Threads that compute, including the engine's own. Default: `HEED_THREADS` from the environment, else the CPUs this process may use. */
  readonly threads?: number | undefined;
  /** Instruction-set level of the CPU: 'avx512_bf16', 'avx512', 'avx2' or 'portable'. Default: `HEED_CPU` from the environment, else the best this machine has. Levels round differently. */
  readonly level?: string | undefined;
  /**
   * Tokens per pass. Default 4096. A larger batch runs in several passes with the same result; a prompt and all its
   * responses must fit into one pass.
   */
  readonly maxTokens?: number | undefined;
}

export interface EngineInfo {
  /** Device and instruction-set level: 'cpu avx512'. */
  readonly device: string;
  readonly dtype: 'f32' | 'bf16';
  readonly threads: number;
  readonly maxTokens: number;
  /** Why the device 'auto' is the CPU: what a GPU would need and this machine lacks. */
  readonly fallback?: string;
  /** Free memory of the GPU when the engine was created. */
  readonly freeBytes?: number;
}

/** Work done and memory held by an engine. */
export interface EngineUsage {
  /** Tokens of all forward passes since the engine was created; a shared prompt counts once. */
  readonly tokensComputed: number;
  /**
   * Multiply-adds of matrix products and attention that the work so far needed: for a training step, three times those of its forward
   * pass. Activations computed twice to save memory count once.
   */
  readonly multiplyAdds: number;
  readonly parameterBytes: number;
  /** Gradients and AdamW's moments; with bf16 also its float32 weights. */
  readonly optimizerBytes: number;
  /** Keys and values of generation. */
  readonly cacheBytes: number;
  /** Activations and scratch. */
  readonly arenaBytes: number;
  /** Copies of weights in the layout of the matrix kernels. */
  readonly packedBytes: number;
}

const handles = new WeakMap<Engine, addon.Engine>();

/** The native engine. @throws TypeError when it is not an Engine */
export function engineHandle(engine: Engine): addon.Engine {
  const handle = handles.get(engine);
  if (!handle) throw new TypeError('engine is not an Engine of heed: make one with Engine.create()');
  return handle;
}

/**
 * One device and one compute thread. Everything created from an engine runs on it, in the order of the calls, off the JavaScript
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
   * @throws HeedError ERR_INVALID_ARGUMENT for an unknown device, dtype, thread count or level, ERR_DEVICE for a GPU that cannot be
   *   used
   */
  static async create(options: EngineOptions = {}): Promise<Engine> {
    return make(options, false, (handle) => new Engine(handle));
  }

  /**
   * The peak memory of some work, planned by the engine itself: `work` is given an engine that runs every check but allocates and
   * computes nothing (losses are 0, models have no weights).
   *
   * @param options as for {@link Engine.create}
   * @param work creates models and trainers and runs the largest passes
   */
  static async plan(options: EngineOptions, work: (engine: Engine) => Promise<unknown>): Promise<EngineUsage> {
    const engine = make(options, true, (handle) => new Engine(handle));
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
   * FLOP/s that the device can do at most in matrix products of the engine's number format, a multiply-add being two. A CPU measures
   * it at each call, in some milliseconds; for a GPU it follows from its properties (docs/cuda.md).
   */
  peakFlops({ signal }: Abortable = {}): Promise<number> {
    return run(signal, () => engineHandle(this).peakFlops());
  }

  /**
   * Cancels the running call, disposes of all models and trainers of this engine and frees their memory; resolves when that is done.
   * Pending and later calls reject with ERR_DISPOSED.
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

/** @throws HeedError, TypeError; the signal's reason */
function make(options: EngineOptions, plan: boolean, wrap: (handle: addon.Engine) => Engine): Engine {
  options.signal?.throwIfAborted();
  const { device = 'cpu', dtype = 'f32', threads = threadsOfEnvironment(), level = '', maxTokens = 4096 } = options;
  const given = { device, dtype, threads, level, maxTokens, plan, cudaModule: device === 'cpu' ? '' : cudaModule() };
  return call(() => wrap(new (native().Engine)(given)));
}

function threadsOfEnvironment(): number {
  const text = process.env.HEED_THREADS;
  if (text === undefined || text === '') return 0;
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 0)
    throw new RangeError(`HEED_THREADS is ${text}, expected a whole number`);
  return threads;
}
