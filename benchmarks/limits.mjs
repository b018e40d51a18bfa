// What the machine can do at most, and the roofline that results are measured against (Williams et al. 2009).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root, threads } from './measure.mjs';

/** A native benchmark's JSON lines. */
export function runNative(name, args = []) {
  const file = join(root, 'cmake-build', `bench_${name}`);
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`npm run build:native -- --tests\``);
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`bench_${name} failed: ${error?.message ?? stderr}`);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** GFLOP/s of a number format, and GB/s at which so many bytes are read again and again. */
function nativeLimits({ level, dtype, set }) {
  const [row] = runNative('limits', [level, dtype, String(Math.ceil(set)), String(threads)]);
  return { gflops: row.gflops, gbPerS: row.gb_per_s };
}

/** The machine beside its results: float32 and bfloat16 peaks, and reading what no cache holds. */
export function machineLimits() {
  const [f32, bf16] = ['f32', 'bf16'].map((dtype) => nativeLimits({ level: '', dtype, set: 2 ** 29 }));
  return { threads, gflops: f32.gflops, bf16Gflops: bf16.gflops, read: Math.max(f32.gbPerS, bf16.gbPerS) };
}

/**
 * The least time in which this machine can do a case. Each phase takes as long as its multiply-adds or as its bytes, whichever
 * is longer. Limits are observed beside every round and the highest counts, as the best round does.
 *
 * @param phases { flops, bytes, set }: two flops for a multiply-add; bytes that must be read or written at least; `set`: what the
 * phase works on in all, whose size decides which cache or memory feeds it (default: bytes)
 */
export class Bound {
  #phases;
  #limits;
  #measure;

  constructor(phases, { level = '', dtype = 'f32', measure = nativeLimits } = {}) {
    this.#phases = phases;
    this.#limits = phases.map(() => ({ gflops: 0, gbPerS: 0 }));
    this.#measure = ({ bytes, set = bytes }) => measure({ level, dtype, set });
  }

  /** Measures the limits now, or takes them as they were measured: one for each phase. */
  observe(observed = this.#phases.map(this.#measure)) {
    this.#limits = this.#limits.map(({ gflops, gbPerS }, i) => ({
      gflops: Math.max(gflops, observed[i].gflops ?? 0),
      gbPerS: Math.max(gbPerS, observed[i].gbPerS),
    }));
  }

  /** Of the best round. A share above 100 % is looked at again: the limits may have been measured while the machine was busy. */
  share(bestSeconds) {
    for (let again = 0; again < 3 && this.#percent(bestSeconds) > 100; again++) this.observe();
    const byArithmetic = this.#times().filter(({ arithmetic, memory }) => arithmetic >= memory);
    const total = (times) => times.reduce((sum, { arithmetic, memory }) => sum + Math.max(arithmetic, memory), 0);
    return {
      percentOfBound: this.#percent(bestSeconds),
      limitedBy: 2 * total(byArithmetic) >= total(this.#times()) ? 'arithmetic' : 'memory',
    };
  }

  #percent(seconds) {
    const least = this.#times().reduce((sum, { arithmetic, memory }) => sum + Math.max(arithmetic, memory), 0);
    return (100 * least) / seconds;
  }
  #times() {
    return this.#phases.map(({ flops, bytes }, i) => ({
      arithmetic: flops === 0 ? 0 : (1e-9 * flops) / this.#limits[i].gflops,
      memory: (1e-9 * bytes) / this.#limits[i].gbPerS,
    }));
  }
}

/** Rows that claim more than the machine can do: their bound is wrong, or the work was not done. */
export function requirePossible(benchmarks) {
  const above = Object.entries(benchmarks).flatMap(([benchmark, cases]) =>
    cases
      .filter(({ percentOfBound }) => !(percentOfBound <= 100))
      .map(({ name, percentOfBound }) => `${benchmark}, ${name}: ${percentOfBound.toFixed(1)} %`),
  );
  if (above.length > 0) throw new Error(`above 100 % of the bound, which cannot be:\n  ${above.join('\n  ')}`);
}
