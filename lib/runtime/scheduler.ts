/** Continuous batching: the calls of a model and of all adapters to it share a batch, which they join and leave between tokens. */
import { setImmediate } from 'node:timers/promises';
import type * as addon from '../../bindings/addon.js';
import { native } from '../core/native.js';
import { type Beginning, Cache, startOptions } from './cache.js';
import { type Call, type Growth, grow, JobFailure, roomOf, type Sample } from './call.js';

// Tokens per slot and native job: the most decoding that other jobs, other calls and the reader of a stream wait for.
const kStepsPerJob = 8;
// Tokens of prompts per job while other samples decode.
const kPromptTokens = 512;
// Slots that calls together have, if none asks for more.
const kSlots = 64;

/** A prompt of which so many tokens are in the cache. */
interface Ahead {
  readonly beginning: Beginning;
  done: number;
}

interface Hold {
  readonly slots: number;
  readonly adapter: addon.Model | undefined;
}

interface Running {
  readonly native: addon.Generator;
  readonly cache: Cache;
}

const schedulers = new WeakMap<addon.Model, Scheduler>();
const disposed = new WeakSet<addon.Model>();
const whenDisposed = new JobFailure({ code: 'ERR_DISPOSED', message: 'the model is disposed' });

/** A model as the batch of its base sees it. */
export interface Place {
  readonly base: addon.Model;
  /** undefined: it is the base. */
  readonly adapter: addon.Model | undefined;
}

/** The scheduler of a base. */
export function schedulerOf({ base }: Place, maxPositions: number): Scheduler {
  const known = schedulers.get(base);
  if (known) return known;
  const scheduler = new Scheduler(base, maxPositions);
  schedulers.set(base, scheduler);
  return scheduler;
}

/** Ends the calls of a model that is about to be disposed of, and refuses later ones: its base's batch goes on without them. */
export function dropCalls({ base, adapter }: Place): void {
  disposed.add(adapter ?? base);
  schedulers.get(base)?.drop(adapter);
}

/**
 * Decodes the calls of a base and of the adapters to it. A sample's tokens depend on its request alone, so it may be interrupted at any token and continued
 * in another slot, or another cache, from its prompt and what it has: that is how a batch grows, how a paused reader's slots are lent
 * to others, and how changed parameters are met.
 */
export class Scheduler {
  readonly #base: addon.Model;
  readonly #calls: Call[] = []; // the one that is served next first
  readonly #holds = new Set<Hold>();
  #running: Running | undefined;
  #job: addon.Job<unknown> | undefined;
  #isLooping = false;
  #isWoken = false;
  #hasStarted = false; // the last job began samples
  /** A long prompt that is computed in parts. */
  #ahead: Ahead | undefined;
  /** What memory is enough for, once it was not enough. */
  #most: { readonly slots: number; readonly length: number } | undefined;

  readonly #maxPositions: number;

  constructor(base: addon.Model, maxPositions: number) {
    this.#base = base;
    this.#maxPositions = maxPositions;
  }

  /** Joins the batch. */
  join(call: Call): void {
    if (disposed.has(call.options.adapter ?? this.#base)) {
      call.options.fail(whenDisposed);
      return;
    }
    this.#calls.push(call);
    this.wake();
  }

  /** Leaves the batch, whatever is unfinished. */
  leave(call: Call): void {
    const at = this.#calls.indexOf(call);
    if (at < 0) return;
    this.#calls.splice(at, 1);
    if (!this.#stopIfUnused()) this.#interrupt((sample) => sample.call === call);
  }

  /** Keeps the cache between calls, with so many slots at most, until the returned function is called. */
  hold(slots: number, adapter: addon.Model | undefined): () => void {
    const hold = { slots, adapter };
    this.#holds.add(hold);
    return () => {
      if (this.#holds.delete(hold)) this.#stopIfUnused();
    };
  }

  /** Ends what an adapter, or the base itself, has here: it is disposed of. */
  drop(adapter: addon.Model | undefined): void {
    for (const hold of this.#holds) if (hold.adapter === adapter) this.#holds.delete(hold);
    for (const call of this.#calls.filter(({ options }) => options.adapter === adapter)) {
      this.leave(call);
      call.options.fail(whenDisposed);
    }
    this.#stopIfUnused();
  }

  #stopIfUnused(): boolean {
    const isUnused = this.#calls.length === 0 && this.#holds.size === 0;
    if (isUnused) this.#stop();
    return isUnused;
  }

  /** A reader wants more. */
  wake(): void {
    this.#isWoken = true;
    if (this.#isLooping) return;
    this.#isLooping = true;
    void this.#loop();
  }

  async #loop(): Promise<void> {
    await undefined; // calls that are made together begin together
    for (let goesOn = true; goesOn || this.#isWoken; ) {
      this.#isWoken = false;
      try {
        goesOn = await this.#step();
      } catch (error) {
        this.#fail(error);
        goesOn = true; // with the calls that are left
      }
      // Readers ask for more meanwhile.
      if (this.#calls.some(({ options }) => !options.wants())) await setImmediate();
    }
    this.#isLooping = false;
  }

  /** One native job. @returns whether there was one */
  async #step(): Promise<boolean> {
    const ready = this.#calls.filter(({ options }) => options.wants());
    if (ready.length === 0) return false;
    if (!this.#running) {
      const { slots, length } = this.#needs(ready);
      await this.#create(slots, length);
      return true;
    }
    const { native: generator, cache } = this.#running;
    if (await this.#grown(ready)) return true;
    const wanted = new Set(ready);
    const unbegun = this.#ahead?.beginning.slots ?? [];
    const live = cache.slotsOf(({ call }) => wanted.has(call)).filter((slot) => !unbegun.includes(slot));
    const canRun = live.length > 0;
    // A call that is interrupted or has a slow reader is not to wait for another one's long prompt either.
    const areOthers =
      this.#calls.some((call) => call.interrupted.length > 0) || cache.free + unbegun.length < cache.size;
    if (!(canRun && this.#hasStarted) && (await this.#begin(ready, areOthers))) {
      this.#hasStarted = true;
      return true;
    }
    this.#hasStarted = false;
    if (!canRun) return false;
    await this.#decode(() => generator.run(kStepsPerJob, Int32Array.from(live)), []);
    return true;
  }

  /** Begins what waits, as far as there are slots and not too many tokens before others decode again. */
  async #begin(ready: readonly Call[], othersRun: boolean): Promise<boolean> {
    const { native: generator, cache } = this.#running!;
    const ahead = this.#ahead;
    if (ahead && ready.includes(ahead.beginning.samples[0]!.call)) return await this.#goOn(ahead, othersRun);
    let free = cache.free;
    if (free === 0 && ready.some((call) => this.#mayBegin(call))) {
      // Readers that do not read lend their slots.
      this.#interrupt(({ call }) => !ready.includes(call));
      free = cache.free;
    }
    const samples: Sample[] = [];
    const prompts = new Set<unknown>();
    let tokens = 0;
    const inOrder = [...ready].sort((a, b) => Math.sign(b.interrupted.length) - Math.sign(a.interrupted.length));
    for (let progress = true; progress && free > 0; ) {
      progress = false;
      for (const call of inOrder) {
        if (free === 0) break;
        if (!this.#mayBegin(call)) continue;
        const { prompt, length } = call.peek()!;
        const more = prompts.has(prompt) && length === 0 ? 0 : prompt.length + length;
        if (othersRun && samples.length > 0 && tokens + more > kPromptTokens) continue;
        tokens += more;
        prompts.add(prompt);
        const sample = call.pull()!;
        call.live.add(sample);
        samples.push(sample);
        free--;
        progress = true;
      }
    }
    if (samples.length === 0) return false;
    // Another call is first the next time.
    const [first] = this.#calls.splice(0, 1);
    this.#calls.push(first!);
    const beginnings = cache.place(samples);
    const [only] = beginnings;
    if (othersRun && !ahead && beginnings.length === 1 && only!.cached === 0 && only!.sequence.length > kPromptTokens) {
      this.#ahead = { beginning: only!, done: 0 };
      return await this.#goOn(this.#ahead, othersRun);
    }
    await this.#decode(
      () => generator.start(startOptions(beginnings)),
      beginnings.flatMap(({ slots }) => slots),
    );
    return true;
  }

  /** The next part of a long prompt; the last part begins its samples. */
  async #goOn(ahead: Ahead, othersRun: boolean): Promise<boolean> {
    const { beginning } = ahead;
    const { native: generator, cache } = this.#running!;
    const { sequence, slots } = beginning;
    const { adapter } = beginning.samples[0]!.call.options;
    const end = ahead.done + kPromptTokens;
    if (othersRun && end < sequence.length) {
      const part = sequence.slice(ahead.done, end);
      const decoded = await this.#run(() => generator.prefill(slots[0]!, part, ahead.done, adapter), []);
      if (this.#ahead !== ahead || this.#running?.cache !== cache || !decoded) return true;
      ahead.done = end;
      cache.fill(slots[0]!, end);
      return true;
    }
    this.#ahead = undefined;
    await this.#decode(
      () => generator.start(startOptions([{ ...beginning, cached: ahead.done, cachedIn: slots[0]! }])),
      slots,
    );
    return true;
  }

  #mayBegin(call: Call): boolean {
    const next = call.peek();
    return next !== undefined && call.live.size < call.options.slots && roomOf(next) <= this.#running!.cache.length;
  }

  /** Runs a job that samples, and hands out what it sampled. @param begun slots whose samples it begins */
  async #decode(start: () => addon.Job<addon.Decoded>, begun: readonly number[]): Promise<void> {
    const { native: generator, cache } = this.#running!;
    const decoded = await this.#run(start, begun);
    if (!decoded || this.#running?.cache !== cache) return;
    const growths = new Map<Call, Growth[]>();
    const released: number[] = [];
    let at = 0;
    decoded.slots.forEach((slot, i) => {
      const begin = at;
      at += decoded.counts[i]!;
      const sample = cache.sampleIn(slot);
      if (!sample?.call.live.has(sample)) return; // its call has left
      const { call } = sample;
      try {
        const { growth, stopped } = grow(sample, decoded, begin, decoded.counts[i]!, decoded.finished[i]!);
        cache.fill(slot, sample.prompt.length + sample.length - 1);
        if (stopped) released.push(slot);
        if (growth.finished !== '') {
          cache.leave(slot);
          call.live.delete(sample);
        }
        growths.set(call, [...(growths.get(call) ?? []), growth]);
      } catch (error) {
        this.leave(call);
        call.options.fail(error);
      }
    });
    if (released.length > 0 && this.#running?.cache === cache) this.#release(generator, released);
    for (const [call, some] of growths) {
      if (!this.#calls.includes(call)) continue;
      try {
        call.options.take(some);
        if (call.isDone) this.leave(call);
      } catch (error) {
        this.leave(call);
        call.options.fail(error);
      }
    }
  }

  /** @returns undefined when the job did nothing since the parameters have changed, or no call is left */
  async #run(start: () => addon.Job<addon.Decoded>, begun: readonly number[]): Promise<addon.Decoded | undefined> {
    const running = this.#running!;
    let decoded: addon.Decoded;
    try {
      const job = start();
      this.#job = job;
      decoded = await job.promise;
    } catch (error) {
      if (this.#running !== running) return undefined; // cancelled when the last call left
      throw error;
    } finally {
      this.#job = undefined;
    }
    if (decoded.stale.length === 0) return decoded;
    if (this.#running !== running) return undefined;
    const emptied = [...decoded.stale, ...begun];
    this.#interruptIn(emptied);
    running.cache.empty(emptied);
    return undefined;
  }

  /** Begins anew with a cache of that size, which is allocated before samples begin. */
  async #create(slots: number, length: number): Promise<void> {
    const running = this.#restart(slots, length);
    try {
      await running.native.release(new Int32Array(0)).promise;
    } catch (error) {
      if (this.#running === running) throw error; // otherwise the last call has left
    }
  }

  #needs(calls: readonly Call[]): { slots: number; length: number } {
    const most = Math.max(
      this.#holds.size > 0 ? Math.max(...Array.from(this.#holds, (hold) => hold.slots)) : kSlots,
      ...calls.map(({ options }) => options.slots),
    );
    const wanted = this.#calls.reduce((n, { demand }) => n + demand, 0);
    return { slots: Math.min(most, wanted), length: Math.max(1, ...calls.map(({ room }) => room)) };
  }

  /** Makes the batch larger if more samples wait than have room in it, and memory allows. @returns whether it did */
  async #grown(ready: readonly Call[]): Promise<boolean> {
    const { cache } = this.#running!;
    const waiting = ready.filter((call) => call.peek() !== undefined);
    if (waiting.length === 0) return false;
    const needs = this.#needs(ready);
    const isAlone = cache.slotsOf(() => true).length === 0;
    const isFull = (cache.free === 0 || isAlone) && needs.slots > cache.size;
    const isShort = waiting.some((call) => roomOf(call.peek()!) > cache.length);
    if (!isFull && !isShort) return false;
    const slots = isFull ? Math.max(needs.slots, Math.min(2 * cache.size, kSlots)) : cache.size;
    const length = isShort ? Math.max(needs.length, Math.min(2 * cache.length, this.#maxPositions)) : cache.length;
    const isTooMuch = this.#most && (slots > this.#most.slots || length > this.#most.length);
    if (isTooMuch && (!isAlone || waiting.some((call) => this.#mayBegin(call)))) return false;
    try {
      await this.#create(slots, length);
    } catch (error) {
      if (isAlone || (error as { code?: string }).code !== 'ERR_OUT_OF_MEMORY') throw error;
      // What decodes goes on as it was, and the others wait until it is done.
      this.#most = { slots: cache.size, length: cache.length };
      await this.#create(cache.size, cache.length);
    }
    return true;
  }

  /** Begins anew with an empty cache: unfinished samples go on from what they have. */
  #restart(slots: number, length: number): Running {
    this.#interruptAll();
    this.#running?.native.dispose();
    this.#running = undefined;
    // The base itself may be disposed of, while adapters to it are not.
    const model = this.#calls.find(({ options }) => options.adapter)?.options.adapter ?? this.#base;
    const generator: addon.Generator = new (native().Generator)(model, { slots, maxLength: length });
    this.#running = { native: generator, cache: new Cache(slots, length) };
    return this.#running;
  }

  /** Takes slots from samples, which their calls continue later if they have not left. */
  #interrupt(which: (sample: Sample) => boolean): void {
    if (this.#running) this.#interruptIn(this.#running.cache.slotsOf(which));
  }

  #interruptIn(slots: readonly number[]): void {
    const { native: generator, cache } = this.#running!;
    if (this.#ahead?.beginning.slots.some((slot) => slots.includes(slot))) this.#ahead = undefined;
    for (const slot of slots) {
      const sample = cache.sampleIn(slot);
      if (sample?.call.live.delete(sample)) sample.call.interrupted.push(sample);
      cache.leave(slot);
    }
    if (slots.length > 0) this.#release(generator, slots);
  }

  #release(generator: addon.Generator, slots: readonly number[]): void {
    generator.release(Int32Array.from(slots)).promise.catch(() => {}); // the next job reports it
  }

  /** Ends all calls; where memory is short, the one that needs most, and the others begin anew. */
  #fail(error: unknown): void {
    const isMemory = (error as { code?: string }).code === 'ERR_OUT_OF_MEMORY';
    const needed = ({ demand, room }: Call) => demand * room;
    const greediest = this.#calls.reduce<Call | undefined>((a, b) => (a && needed(a) >= needed(b) ? a : b), undefined);
    const failed = isMemory && greediest ? [greediest] : [...this.#calls];
    this.#stop();
    for (const call of failed) {
      this.#calls.splice(this.#calls.indexOf(call), 1);
      call.options.fail(new JobFailure(error));
    }
  }

  #stop(): void {
    this.#job?.cancel();
    this.#interruptAll();
    this.#running?.native.dispose();
    this.#running = undefined;
    this.#most = undefined;
  }

  #interruptAll(): void {
    for (const call of this.#calls) {
      call.interrupted.unshift(...call.live);
      call.live.clear();
    }
    this.#ahead = undefined;
  }
}
