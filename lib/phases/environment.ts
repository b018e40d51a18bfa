/**
 * Environments: what answers the model between its turns, such as tools. An episode is one sequence, of which the model's own tokens are
 * learnt.
 */
import { HeedError } from '../core/errors.js';
import type { Prompt } from '../data/index.js';
import type { Completion } from '../runtime/generate.js';
import type { LanguageModel } from '../runtime/model.js';
import { keyedSeed } from './order.js';

/** What an episode starts from. */
export interface EpisodeStart {
  /** Index into the prompts. */
  readonly promptIndex: number;
  /** Counts the episodes of a prompt from 0. */
  readonly sample: number;
  /** Of this episode; a resumed run has the same. */
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * An episode: yields the text that follows the prompt, or the model's last turn (`''` for nothing), and gets the model's next turn; returns the
 * reward, or null to leave the prompt out of the iteration. It is ended where the episode has no room left.
 */
export type Environment = (start: EpisodeStart) => AsyncGenerator<string, number | null, string>;

/** An environment, and how its texts become tokens. */
export interface EnvironmentOptions {
  readonly play: Environment;
  /** The tokenizer of the policy. */
  readonly tokenizer: {
    encode(text: string): Promise<Int32Array>;
    decodeAfter(before: ArrayLike<number>, ids: ArrayLike<number>): string;
  };
}

/** A played episode. Tokens are those after the prompt. */
export interface Played {
  readonly promptIndex: number;
  readonly tokens: Int32Array;
  /** (tokens) 1 for the model's own, 0 for the environment's. */
  readonly learnt: Float32Array;
  /** (tokens) of the sampler, nats; 0 for the environment's. */
  readonly logprobs: Float32Array;
  /** Turns of the model. */
  readonly turns: number;
  /** false if it was ended for want of room. */
  readonly finished: boolean;
  readonly reward: number | null;
}

export interface PlayOptions {
  readonly policy: LanguageModel;
  readonly samplesPerPrompt: number;
  /** Tokens of an episode after its prompt, the environment's included. */
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly stopTokens: readonly number[];
  readonly slots: number;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

/** Plays one iteration's episodes, prompt by prompt, all of them turn by turn. */
export async function playEpisodes(
  environment: EnvironmentOptions,
  o: PlayOptions,
  prompts: readonly Prompt[],
  asked: readonly number[],
  iteration: number,
  onTurn: (done: number, total: number) => void,
): Promise<Played[]> {
  const games = asked.flatMap((promptIndex, i) =>
    Array.from({ length: o.samplesPerPrompt }, (_, sample) => {
      const seed = keyedSeed(o.seed, 'rollout', iteration, i, sample);
      return new Game(
        environment,
        prompts[promptIndex]!,
        { promptIndex, sample, seed, signal: o.signal },
        o.maxNewTokens,
      );
    }),
  );
  // A turn begins with all turns before it, which are in the cache.
  const cache = o.policy.keepCache({ slots: o.slots });
  try {
    await Promise.all(games.map((game) => game.begin()));
    for (let turn = 0; ; turn++) {
      const open = games.filter((game) => game.isOpen);
      onTurn(games.length - open.length, games.length);
      if (open.length === 0) break;
      const completions = await o.policy.generate(
        open.map((game) => ({
          prompt: game.sequence,
          seed: keyedSeed(game.start.seed, 'turn', turn),
          maxNewTokens: game.room,
        })),
        {
          maxNewTokens: o.maxNewTokens,
          temperature: o.temperature,
          stopTokens: o.stopTokens,
          slots: o.slots,
          ...(o.signal ? { signal: o.signal } : {}),
        },
      );
      await Promise.all(completions.map((completion) => open[completion.request]!.take(completion)));
    }
    for (const game of games) game.check();
    return games.map((game) => game.played());
  } finally {
    await cache.dispose();
    await Promise.all(games.map((game) => game.close()));
  }
}

/** One episode while it is played. */
class Game {
  readonly start: EpisodeStart;
  readonly #environment: EnvironmentOptions;
  readonly #prompt: Prompt;
  readonly #most: number;
  readonly #play: AsyncGenerator<string, number | null, string>;
  readonly #tokens: number[] = [];
  readonly #learnt: number[] = [];
  readonly #logprobs: number[] = [];
  #turns = 0;
  #isOver = false;
  #reward: number | null | undefined;

  constructor(environment: EnvironmentOptions, prompt: Prompt, start: EpisodeStart, most: number) {
    this.start = start;
    this.#environment = environment;
    this.#prompt = prompt;
    this.#most = most;
    this.#play = environment.play(start);
  }

  get isOpen(): boolean {
    return !this.#isOver;
  }

  /** Tokens that are left. */
  get room(): number {
    return this.#most - this.#tokens.length;
  }

  get sequence(): Int32Array {
    return Int32Array.from([...this.#prompt, ...this.#tokens]);
  }

  async begin(): Promise<void> {
    await this.#add(await this.#play.next(''));
  }

  /** The model's turn, and what the environment says to it. */
  async take({ tokens, logprobs, finished }: Completion): Promise<void> {
    const said = this.#environment.tokenizer.decodeAfter(this.sequence, tokens);
    this.#tokens.push(...tokens);
    this.#logprobs.push(...logprobs);
    this.#learnt.push(...new Array<number>(tokens.length).fill(1));
    this.#turns++;
    if (finished) await this.#add(await this.#play.next(said));
    else this.#isOver = true;
  }

  /** @throws HeedError for an episode without a turn of the model, or a reward that is no number */
  check(): void {
    const { promptIndex } = this.start;
    const reward: unknown = this.#reward;
    if (this.#turns === 0)
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `the environment ended an episode of prompt ${promptIndex} before the model's first turn`,
      );
    if (reward === undefined || reward === null || (typeof reward === 'number' && Number.isFinite(reward))) return;
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `the reward of an episode of prompt ${promptIndex} is ${String(reward)}, expected a finite number`,
    );
  }

  played(): Played {
    return {
      promptIndex: this.start.promptIndex,
      tokens: Int32Array.from(this.#tokens),
      learnt: Float32Array.from(this.#learnt),
      logprobs: Float32Array.from(this.#logprobs),
      turns: this.#turns,
      finished: this.#reward !== undefined,
      reward: this.#reward === undefined ? 0 : this.#reward,
    };
  }

  async close(): Promise<void> {
    await this.#play.return(null);
  }

  async #add(step: IteratorResult<string, number | null>): Promise<void> {
    if (step.done) {
      this.#reward = step.value ?? null;
      this.#isOver = true;
      return;
    }
    const ids = step.value === '' ? [] : await this.#environment.tokenizer.encode(step.value);
    if (ids.length >= this.room) {
      this.#isOver = true; // no room for a turn after it
      return;
    }
    this.#tokens.push(...ids);
    this.#logprobs.push(...new Array<number>(ids.length).fill(0));
    this.#learnt.push(...new Array<number>(ids.length).fill(0));
  }
}
