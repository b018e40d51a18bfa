/** What a model was optimised for: read from the config.json of its run and of those it started from. */
import { readFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, normalize, resolve, sep } from 'node:path';
import { isObject } from '../core/json.js';

/**
 * The rewards a model was trained against, its own run's first: absolute folders of reward models, and other rewards as they were given.
 *
 * @param dir a model's folder, RUN/model or RUN/step-N/model; of any other nothing is known
 */
export async function rewardsOf(dir: string): Promise<string[]> {
  const found: string[] = [];
  const seen = new Set<string>();
  let model: string | undefined = resolve(dir);
  while (model !== undefined && !seen.has(model)) {
    seen.add(model);
    const run: { options: Record<string, unknown>; dir: string } | undefined = await runOf(model);
    if (!run) break;
    const at = placeOf(run);
    const { rewardModel, reward, policy, model: from } = run.options;
    if (typeof rewardModel === 'string') found.push(at(rewardModel));
    if (Array.isArray(reward)) found.push(...reward.flatMap((one) => (typeof one === 'string' ? [one, at(one)] : [])));
    const before: unknown = policy ?? from;
    model = typeof before === 'string' ? at(before) : undefined;
  }
  return found;
}

async function runOf(model: string): Promise<{ options: Record<string, unknown>; dir: string } | undefined> {
  const up = dirname(model);
  for (const dir of /^step-\d+$/.test(basename(up)) ? [dirname(up)] : [up]) {
    const text = await readFile(`${dir}${sep}config.json`, 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    try {
      const value: unknown = JSON.parse(text);
      if (isObject(value) && typeof value.command === 'string' && isObject(value.options))
        return { options: value.options, dir };
    } catch {
      // Not a run's: nothing is known of the model.
    }
  }
  return undefined;
}

/** Paths of a run are from the folder where it was started, which `out` tells: RUN without it. */
function placeOf({ options: { out }, dir }: { options: Record<string, unknown>; dir: string }) {
  const suffix = typeof out === 'string' && !isAbsolute(out) ? sep + normalize(out).replace(/[\\/]$/, '') : undefined;
  const start = suffix !== undefined && dir.endsWith(suffix) ? dir.slice(0, -suffix.length) || sep : '.';
  return (path: string) => resolve(start, path);
}
