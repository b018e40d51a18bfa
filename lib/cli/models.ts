/** Model folders given to commands: their kind, their tokenizer, and whether two are compatible. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from '../config/index.js';
import { DataError } from '../core/errors.js';
import { ChatTemplate } from '../data/index.js';
import { readConfig } from '../huggingface/folder.js';
import { type AdapterFolder, isAdapter, kAdapterConfig, readAdapterFolder } from '../huggingface/lora.js';
import type { HfConfig } from '../huggingface/modelconfig.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';

/** A model folder whose weights have not been read yet. */
export interface ModelFolder extends HfConfig {
  /** Of an adapter: its base's. */
  readonly dir: string;
  /** Where the files of the tokenizer are. */
  readonly tokenizerDir: string;
  readonly tokenizer: Tokenizer;
  /** The adapter that the model is; `kind` is its kind. */
  readonly adapter: AdapterFolder | undefined;
  readonly baseKind: HfConfig['kind'];
}

/**
 * @param dir a model, or an adapter that names its base
 * @param kind the kind that the command needs; default: either
 * @param adapter the adapter of `dir` to be used
 * @throws DataError naming the invalid file; HeedError if the tokenizer has more tokens than the model
 */
export async function readModelFolder(dir: string, kind?: HfConfig['kind'], adapter?: string): Promise<ModelFolder> {
  refuseRun(dir);
  if (adapter !== undefined) {
    refuseRun(adapter);
    return await readModel(dir, kind, await readAdapterFolder(adapter));
  }
  if (!isAdapter(dir) || existsSync(join(dir, 'config.json'))) return await readModel(dir, kind, undefined);
  const found = await readAdapterFolder(dir);
  const { base } = found;
  if (base === undefined || !existsSync(join(base, 'config.json')))
    throw new DataError(
      `base_model_name_or_path is ${JSON.stringify(base ?? null)}, which is no model folder here: give the base as the model and this folder with --adapter`,
      { file: join(dir, kAdapterConfig) },
    );
  return await readModel(base, kind, found);
}

async function readModel(
  dir: string,
  kind: HfConfig['kind'] | undefined,
  adapter: AdapterFolder | undefined,
): Promise<ModelFolder> {
  if (!existsSync(join(dir, 'config.json'))) {
    throw new DataError('does not exist, expected a Hugging Face model folder with one', {
      file: join(dir, 'config.json'),
    });
  }
  const info = await readConfig(dir);
  const baseKind = info.kind;
  const own = adapter?.kind ?? baseKind;
  if (kind !== undefined && own !== kind) {
    const [is, wanted] =
      kind === 'language' ? ['a reward model', 'a language model'] : ['a language model', 'a reward model'];
    const file = adapter ? join(adapter.dir, kAdapterConfig) : join(dir, 'config.json');
    throw new DataError(`describes ${is}, expected ${wanted}`, { file });
  }
  if (own === 'language' && baseKind === 'scalar')
    throw new DataError('describes a reward model, expected a language model: the base of a language adapter', {
      file: join(dir, 'config.json'),
    });
  const tokenizerDir = adapter && existsSync(join(adapter.dir, 'tokenizer.json')) ? adapter.dir : dir;
  const tokenizer = await Tokenizer.load(tokenizerDir);
  tokenizer.requireFits(info.config.vocabSize, dir);
  return { ...info, kind: own, dir, tokenizerDir, tokenizer, adapter, baseKind };
}

/** For a run folder given as a model: names the model within it. @throws DataError naming the folder */
function refuseRun(dir: string): void {
  const isRun = existsSync(join(dir, 'metrics.jsonl'));
  const isModel = (folder: string) =>
    (existsSync(join(folder, 'config.json')) || isAdapter(folder)) && !existsSync(join(folder, 'metrics.jsonl'));
  const isAlign = !existsSync(join(dir, 'config.json')) && existsSync(join(dir, 'sft', 'metrics.jsonl'));
  if (!isRun && !isAlign) return;
  const phases = isRun ? [''] : ['ppo-ptx', 'ppo', 'sft', 'reward'];
  const models = phases.map((phase) => join(dir, phase, 'model')).filter(isModel);
  const where = models.length > 0 ? `give ${models.join(' or ')}` : 'it has no model yet: continue it with --resume';
  throw new DataError(`is a run folder, expected a model folder; ${where}`, { file: dir });
}

/** @throws UsageError unless the tokenizers of `policy` and `reward` give every token the same meaning, whatever their file format */
export function requireSameTokens(policy: ModelFolder, reward: ModelFolder): void {
  const size = Math.max(policy.tokenizer.vocabSize, reward.tokenizer.vocabSize);
  for (let id = 0; id < size; id++) {
    const [theirs, ours] = [reward, policy].map(({ tokenizer }) => tokenizer.idToToken(id));
    if (theirs === ours) continue;
    const shown = (token: string | undefined) => (token === undefined ? 'none' : JSON.stringify(token));
    throw new UsageError(
      `${policy.dir} and ${reward.dir} have different tokenizers: token ${id} is ${shown(ours)} and ${shown(theirs)}`,
    );
  }
  const [rows, known] = [policy.config.vocabSize, reward.config.vocabSize];
  if (rows > known)
    throw new UsageError(
      `${policy.dir} has a vocabulary of ${rows} tokens, expected at most the ${known} of ${reward.dir}`,
    );
}

/** The maximum length of rows. @throws UsageError if it exceeds the model's positions */
export function lengthFor(maxLength: number | undefined, { dir, config }: ModelFolder): number {
  if (maxLength !== undefined && maxLength > config.maxPositions) {
    throw new UsageError(
      `--max-length is ${maxLength}, expected at most the ${config.maxPositions} positions of ${dir}`,
    );
  }
  return maxLength ?? config.maxPositions;
}

export async function templateFor(name: string | undefined, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  return name === undefined ? undefined : ChatTemplate.load(name, tokenizer);
}

/**
 * Names of models by their folders, the same in every command: `sft` for runs/sft/model, and the folder as given where two would share one.
 */
export function namesOf(dirs: readonly string[]): string[] {
  const short = dirs.map((dir) => {
    const path = resolve(dir);
    return (basename(path) === 'model' && basename(dirname(path))) || basename(path);
  });
  return short.map((name, i) => (short.indexOf(name) === short.lastIndexOf(name) ? name : dirs[i]!));
}

/** The folder that names a model: an adapter's own. */
export const namingFolder = ({ dir, adapter }: ModelFolder): string => adapter?.dir ?? dir;
