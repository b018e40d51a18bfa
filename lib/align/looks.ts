/** What the reward model and the judge say of a policy while PPO runs: the points of the over-optimisation curve. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PolicyPoint } from '../report/types.js';
import { writeFileAtomic } from '../runs/runfolder.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { heldOutPrompts, type WorldPrompt } from '../world/index.js';
import { ask, klFrom, scoreAnswers } from './answers.js';
import type { Job } from './stages.js';

interface Scores {
  readonly proxy: number;
  readonly gold: number;
  readonly kl: number;
}

/** Looks at policies on prompts of their own: neither trained on nor those of the final evaluation. Nothing is chosen by them. */
export class Looks {
  readonly all: PolicyPoint[] = [];
  readonly #file: string;

  private constructor(
    private readonly job: Job,
    private readonly prompts: readonly WorldPrompt[],
    private readonly sft: LanguageModel,
    private readonly reward: ScalarModel,
    private start: Scores | undefined,
  ) {
    this.#file = join(job.out, 'looks.json');
  }

  static async open(job: Job, sft: LanguageModel, reward: ScalarModel): Promise<Looks> {
    const { seed, evaluation } = job.config;
    const prompts = heldOutPrompts({ seed: `looks/${seed}`, perFamily: evaluation.perFamilyEvery });
    const looks = new Looks(job, prompts, sft, reward, undefined);
    if (job.resume && existsSync(looks.#file)) {
      looks.all.push(...(JSON.parse(await readFile(looks.#file, 'utf8')) as PolicyPoint[]));
    }
    looks.start = await looks.#measure(sft);
    return looks;
  }

  /** Adds the point of one iteration; a resumed run replaces the point it takes again. */
  async look(run: 'ppo' | 'ppo-ptx', policy: LanguageModel, iteration: number): Promise<void> {
    const { proxy, gold, kl } = await this.#measure(policy);
    const point = { run, iteration, kl, proxy: proxy - this.start!.proxy, gold: gold - this.start!.gold };
    const kept = this.all.filter((p) => p.run !== run || p.iteration !== iteration);
    this.all.splice(0, this.all.length, ...kept, point);
    await writeFileAtomic(this.#file, `${JSON.stringify(this.all)}\n`);
  }

  async #measure(policy: LanguageModel): Promise<Scores> {
    const { tokenizer, config, signal } = this.job;
    const answers = await ask(policy, tokenizer, this.prompts, {
      temperature: 1,
      samples: 2,
      maxNewTokens: config.ppo.maxNewTokens,
      seed: config.seed,
      signal,
    });
    const proxies = (await scoreAnswers(this.reward, tokenizer, this.prompts, answers)).flat();
    const golds = answers.flat().map(({ judgement }) => judgement.score);
    const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
    return {
      proxy: mean(proxies),
      gold: mean(golds),
      kl: policy === this.sft ? 0 : await klFrom(this.sft, tokenizer, this.prompts, answers),
    };
  }
}
