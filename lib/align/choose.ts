/** Chooses the run folder when none is given: the one that was stopped, or a new one beside the existing ones. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { userOf } from '../runs/process.js';
import type { AlignConfig } from './config.js';

export interface Chosen {
  readonly out: string;
  readonly resume: boolean;
  /** A notice for the user, if any. */
  readonly notice?: string;
}

const kPhases = ['sft', 'reward', 'ppo', 'ppo-ptx'];

/**
 * @param base the first folder to try: `runs/align`, then `runs/align-2` and so on
 * @returns the first folder that is free or that holds a stopped run of the same configuration, which is then resumed
 */
export async function chooseRun(base: string, config: AlignConfig): Promise<Chosen> {
  let passed: string | undefined;
  for (let n = 1; ; n++) {
    const out = n === 1 ? base : `${base}-${n}`;
    const state = await stateOf(out, config);
    if (state === 'free')
      return {
        out,
        resume: false,
        ...(passed === undefined ? {} : { notice: `${passed}: a new run starts in ${out}` }),
      };
    if (state === 'stopped') return { out, resume: true, notice: `${out} was stopped: continuing it` };
    passed ??= `${out} ${state}`;
  }
}

async function stateOf(out: string, config: AlignConfig): Promise<string> {
  if (!existsSync(join(out, 'sft', 'metrics.jsonl'))) {
    const names = existsSync(out) ? await readdir(out) : [];
    return names.length === 0 || names.includes('data') ? 'free' : 'holds something else';
  }
  if (existsSync(join(out, 'report.json'))) return 'is complete';
  for (const phase of kPhases) if ((await userOf(join(out, phase))) !== undefined) return 'is still running';
  const saved: unknown = await readFile(join(out, 'sft', 'config.json'), 'utf8').then(JSON.parse, () => undefined);
  return isDeepStrictEqual(saved, JSON.parse(JSON.stringify(config))) ? 'stopped' : 'is a run with other options';
}
