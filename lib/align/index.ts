/**
 * The main job: the three phases of InstructGPT on the embedded world, end to end, judged by a program that no phase sees.
 *
 *   RUN/data/       the training data: demonstrations, rankings, prompts, as JSON Lines for the other commands
 *   RUN/sft, reward, ppo, ppo-ptx     one run folder per phase
 *   RUN/report.json, report.html
 */
import { join } from 'node:path';
import { makeFolder } from '../core/files.js';
import { packageRoot, version } from '../core/package.js';
import { readCurve, writeReport } from '../report/index.js';
import type { AlignReport, RewardModelCheck, Timing } from '../report/types.js';
import type { Engine } from '../runtime/engine.js';
import { LanguageModel } from '../runtime/model.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { checkReward } from './check.js';
import type { AlignConfig } from './config.js';
import type { AlignLog } from './log.js';
import { PolicyCurve } from './policycurve.js';
import { type Job, ppoStage, rankingsStage, rewardStage, sftStage, timed, trainingProse } from './stages.js';
import { evaluate } from './verdict.js';

export { trainBase } from './base.js';
export { type Chosen, chooseRun } from './choose.js';
export { type AlignConfig, alignConfig, alignSections } from './config.js';
export { type AlignLog, SILENT } from './log.js';

/** The base model shipped with heed. */
export const SHIPPED_BASE = join(packageRoot ?? '.', 'models/base');

export interface AlignOptions {
  /** RUN: the output folder. */
  readonly out: string;
  /** The command that reproduces the run, for the report. */
  readonly command: string;
  /** Continues a run in `out` where it was stopped, even within a phase. */
  readonly resume?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly log: AlignLog;
}

/** Runs the main job and writes its report. @throws the errors of the phases; no half-written file has its final name */
export async function align(engine: Engine, config: AlignConfig, o: AlignOptions): Promise<AlignReport> {
  const { out, log, signal, resume = false } = o;
  const baseDir = config.base ?? SHIPPED_BASE;
  const tokenizer = await Tokenizer.load(baseDir);
  const base = await LanguageModel.load(engine, baseDir);
  await makeFolder(out);
  const timing: Timing[] = [];
  const job: Job = { engine, config, tokenizer, baseDir, out, resume, signal, log, timing };

  const prose = await trainingProse(job);
  const sft = await timed(job, 'sft', () => sftStage(job, base, prose));
  const rankings = await timed(job, 'rankings', () => rankingsStage(job, sft.model));
  const { model: reward, result } = await timed(job, 'reward', () => rewardStage(job, sft, rankings));
  const check = await checkReward(reward, tokenizer, rankings.heldOut, config.seed);
  log.line(`reward model on held-out rankings: ${describe(check)}`);

  const curve = await PolicyCurve.open(job, sft.model, reward);
  const policies: { name: 'ppo' | 'ppo-ptx'; model: LanguageModel }[] = [];
  for (const name of ['ppo', 'ppo-ptx'] as const) {
    const model = await timed(job, name, () =>
      ppoStage(job, {
        name,
        sft: sft.model,
        reward,
        rewardScale: result.scale,
        prose,
        measure: (policy, iteration) => curve.measure(name, policy, iteration),
      }),
    );
    policies.push({ name, model });
  }

  const evaluated = await timed(job, 'evaluation', () =>
    evaluate(job, { base, sft: sft.model, reward, policies, points: curve.points }),
  );
  const report: AlignReport = {
    kind: 'align',
    setup: {
      seed: config.seed,
      command: o.command,
      config,
      device: engine.info.device,
      threads: engine.info.threads,
      version,
      finishedAt: new Date().toISOString(),
    },
    ...evaluated,
    curves: await Promise.all(['sft', 'reward', 'ppo', 'ppo-ptx'].map((phase) => readCurve(join(out, phase), phase))),
    rewardModel: {
      ...check,
      ...(result.sampleStd === undefined ? {} : { sftScoreStd: result.sampleStd }),
      ...(result.demonstrationStd === undefined ? {} : { demonstrationScoreStd: result.demonstrationStd }),
    },
    timing,
  };
  const file = await writeReport(out, report);
  for (const { model, against, rate, low, high } of report.winRates) {
    log.line(`${model} over ${against}: ${percent(rate)} [${percent(low)}, ${percent(high)}]`);
  }
  log.line(`report: ${file}`);
  return report;
}

const percent = (x: number) => `${(100 * x).toFixed(1)} %`;

const describe = ({ labelers, judge, swap, knowledge, notTold, labelerAgreement }: RewardModelCheck) =>
  `${percent(labelers.value)} of pairs ordered as by the labelers [${percent(labelers.low)}, ${percent(labelers.high)}]` +
  `${labelerAgreement ? ` (two labelers agree on ${percent(labelerAgreement.value)})` : ''}, ` +
  `${percent(judge.value)} as by the judge, swap test ${percent(swap.value)}` +
  `${knowledge ? `; right answer above a wrong one of the same form ${percent(knowledge.value)}` : ''}` +
  `${notTold ? `, «does not say» above a made-up answer ${percent(notTold.value)}` : ''}`;
