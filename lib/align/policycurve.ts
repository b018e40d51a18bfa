/** Scores of the reward model and the judge while PPO runs: the points of the over-optimisation curve. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PolicyPoint } from '../report/types.js';
import { writeFileAtomic } from '../runs/files.js';
import type { LanguageModel, ScalarModel } from '../runtime/model.js';
import { heldOutPrompts, type WorldPrompt } from '../world/index.js';
import { ask, klFrom, scoreAnswers } from './answers.js';
import type { Job } from './stages.js';

interface Scores {
  readonly proxy: number;
  readonly gold: number;
  readonly kl: number;
}

/** Measures policies on separate prompts: neither training prompts nor those of the final evaluation, and not used to choose anything. */
export class PolicyCurve {
  readonly points: PolicyPoint[] = [];
  readonly #file: string;

  private constructor(
    private readonly job: Job,
    private readonly prompts: readonly WorldPrompt[],
    private readonly sft: LanguageModel,
    private readonly reward: ScalarModel,
    private start: Scores | undefined,
  ) {
    this.#file = join(job.out, 'policycurve.json');
  }

  static async open(job: Job, sft: LanguageModel, reward: ScalarModel): Promise<PolicyCurve> {
    const { seed, evaluation } = job.config;
    const prompts = heldOutPrompts({ seed: `looks/${seed}`, perFamily: evaluation.perFamilyEvery });
    const curve = new PolicyCurve(job, prompts, sft, reward, undefined);
    if (job.resume && existsSync(curve.#file)) {
      curve.points.push(...(JSON.parse(await readFile(curve.#file, 'utf8')) as PolicyPoint[]));
    }
    curve.start = await curve.#scores(sft);
    return curve;
  }

  /** Adds the point of one iteration; when a resumed run repeats the iteration, its point is replaced. */
  async measure(run: 'ppo' | 'ppo-ptx', policy: LanguageModel, iteration: number): Promise<void> {
    const { proxy, gold, kl } = await this.#scores(policy);
    const point = { run, iteration, kl, proxy: proxy - this.start!.proxy, gold: gold - this.start!.gold };
    const kept = this.points.filter((p) => p.run !== run || p.iteration !== iteration);
    this.points.splice(0, this.points.length, ...kept, point);
    await writeFileAtomic(this.#file, `${JSON.stringify(this.points)}\n`);
  }

  async #scores(policy: LanguageModel): Promise<Scores> {
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
