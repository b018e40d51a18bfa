/** The measures of heed eval that concern several models together: whose values, how far policies differ, over-optimisation. */

import type { Row } from '../data/index.js';
import { Frame } from '../data/index.js';
import { acrossLabelers } from '../evaluate/acrosslabelers.js';
import { type EvaluatedPrompt, renderedPrompts } from '../evaluate/answers.js';
import type { CountedLabels } from '../evaluate/counted.js';
import { klFrom, type Sampled, sampleTrees } from '../evaluate/divergence.js';
import type { Figure } from '../evaluate/figure.js';
import { bestOfNCurves, type PolicyScores, trainingCurve } from '../evaluate/overoptimisation.js';
import type { EvalReport, OverReport } from '../evaluate/report.js';
import { scoresOf } from '../evaluate/trees.js';
import { scoreLabels, valuesReport } from '../evaluate/values.js';
import type { ScalarModel } from '../runtime/model.js';
import type { Context } from './command.js';
import type { EvalValues } from './evalmeasures.js';
import type { Loader } from './load.js';
import { type ModelFolder, namesOf, readModelFolder, requireSameTokens, templateFor } from './models.js';

type Asked = readonly (EvaluatedPrompt & { readonly source: Row })[];

/** Accuracies of reward models by labeler and group, and across labelers. */
export async function whoseValues(
  { labels, withRepeats }: CountedLabels,
  values: EvalValues,
  loader: Loader,
  { signal, log }: Context,
): Promise<NonNullable<EvalReport['values']>> {
  const dirs = values.rewardModels ?? [];
  const names = namesOf(dirs);
  const scored = [];
  for (const [m, dir] of dirs.entries()) {
    const folder = await readModelFolder(dir, 'scalar');
    const model = await loader.scalar(folder, values.seed);
    const frame = new Frame(folder.tokenizer, await templateFor(values.template, folder.tokenizer));
    scored.push({ model: names[m]!, scores: await scoreLabels(model, frame, labels, signal) });
    await model.dispose();
  }
  const report = valuesReport(labels, scored, { seed: values.seed, withRepeats });
  if (values.acrossLabelers === undefined) return report;
  const folder = await readModelFolder(values.acrossLabelers, 'language');
  const model = await loader.language(folder);
  const stage = log.stage('across labelers', values.folds, 'folds');
  const { folds, foldsBy: by, epochs, batchSize, learningRate, seed } = values;
  const across = await acrossLabelers(labels, {
    model,
    tokenizer: folder.tokenizer,
    template: await templateFor(values.template, folder.tokenizer),
    folds,
    by,
    epochs,
    batchSize,
    learningRate,
    seed,
    signal,
    onProgress: (done) => stage.update(done),
  });
  stage.end();
  await model.dispose();
  return { ...report, acrossLabelers: across };
}

/** Samples of each model at temperature 1. */
async function samplesOf(
  folders: readonly ModelFolder[],
  asked: Asked,
  values: EvalValues,
  samples: number,
  loader: Loader,
  { signal, log }: Context,
): Promise<Sampled[]> {
  const found: Sampled[] = [];
  const stage = log.stage(`${samples} samples of ${asked.length} prompts`, folders.length, 'models');
  for (const folder of folders) {
    const { tokenizer } = folder;
    const prompts = renderedPrompts(new Frame(tokenizer, await templateFor(values.template, tokenizer)), asked);
    const model = await loader.language(folder);
    const { maxNewTokens, seed } = values;
    found.push(await sampleTrees(model, prompts, { tokenizer, maxNewTokens, seed, samples, signal }));
    await model.dispose();
    stage.update(found.length);
  }
  stage.end();
  return found;
}

/** KL of each model from each other one. */
export async function differences(
  folders: readonly ModelFolder[],
  names: readonly string[],
  asked: Asked,
  values: EvalValues,
  loader: Loader,
  context: Context,
): Promise<Figure[]> {
  for (const folder of folders) requireSameTokens(folders[0]!, folder);
  const sampled = await samplesOf(folders, asked, values, Math.min(values.samples, 8), loader, context);
  const figures: Figure[] = [];
  for (const [m, folder] of folders.entries()) {
    const model = await loader.language(folder);
    for (const [s, of] of sampled.entries()) {
      if (s === m) continue;
      const estimate = await klFrom(of, model, context.signal);
      figures.push({
        ...estimate,
        name: `KL from ${names[m]}`,
        model: names[s]!,
        data: 'prompts',
        unit: 'number',
        of: 'samples',
        note: 'nats per response',
      });
    }
    await model.dispose();
  }
  return figures;
}

/** Best-of-n of the first model by each proxy, and the other models as checkpoints of one run. */
export async function overOptimisation(
  folders: readonly ModelFolder[],
  names: readonly string[],
  asked: Asked,
  values: EvalValues,
  loader: Loader,
  context: Context,
): Promise<OverReport> {
  const { signal } = context;
  const proxyNames = namesOf(values.proxy!);
  const scalars = await Promise.all([...values.proxy!, values.gold!].map((dir) => readModelFolder(dir, 'scalar')));
  for (const folder of [...folders, ...scalars]) requireSameTokens(folders[0]!, folder);
  const sampled = [
    ...(await samplesOf(folders.slice(0, 1), asked, values, values.samples, loader, context)),
    ...(await samplesOf(folders.slice(1), asked, values, Math.min(values.samples, 8), loader, context)),
  ];
  const scores: number[][][][] = []; // (reward models) (policies) (prompts) (samples)
  for (const folder of scalars) {
    const model: ScalarModel = await loader.scalar(folder, values.seed);
    const of = [];
    for (const { trees } of sampled) of.push(await scoresOf(model, trees, signal));
    scores.push(of);
    await model.dispose();
  }
  const policyScores = (p: number): Pick<PolicyScores, 'proxies' | 'gold'> => ({
    proxies: proxyNames.map((name, i) => ({ name, scores: scores[i]![p]! })),
    gold: scores.at(-1)![p]!,
  });
  const initial = policyScores(0);
  const curves = bestOfNCurves(initial.proxies, initial.gold, values.seed);
  if (folders.length > 1) {
    const model = await loader.language(folders[0]!);
    const policies: PolicyScores[] = [];
    for (let p = 1; p < folders.length; p++)
      policies.push({ model: names[p]!, kl: await klFrom(sampled[p]!, model, signal), ...policyScores(p) });
    await model.dispose();
    curves.push(trainingCurve(`training against ${proxyNames[0]}`, initial, policies, values.seed));
  }
  return {
    policy: names[0]!,
    gold: namesOf([values.gold!])[0]!,
    prompts: sampled[0]!.trees.length,
    samples: values.samples,
    curves,
  };
}
