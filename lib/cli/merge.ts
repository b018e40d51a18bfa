import { mergeFields, UsageError, type Values } from '../config/index.js';
import { Engine } from '../runtime/engine.js';
import type { Command, Context } from './command.js';
import { Loader } from './load.js';
import { readModelFolder } from './models.js';

export const merge: Command<typeof mergeFields> = {
  name: 'merge',
  summary: 'an ordinary model from a model and an adapter',
  about: `Adds the adapter's terms to the weights of a copy of its base: programs that know no adapters load the result. The base and the
adapter stay as they are, so there is nothing to undo.`,
  fields: mergeFields,
  required: ['model', 'out'],
  examples: [
    ['an adapter that heed trained, which names its base', 'heed merge --model runs/sft/model --out merged'],
    ['a base and an adapter of PEFT', 'heed merge --model llama --adapter my-adapter --out merged --dtype bf16'],
  ],
  trains: false,
  run,
};

async function run(values: Values<typeof mergeFields>, { signal, log }: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, undefined, values.adapter);
  if (!folder.adapter) throw new UsageError(`${folder.dir} is a model without an adapter: give one with --adapter DIR`);
  const engine = await Engine.create({ maxTokens: 1, signal }); // in float32, whatever the file's format is
  try {
    const loader = new Loader(engine, signal);
    const model = folder.kind === 'language' ? await loader.language(folder) : await loader.scalar(folder, 0);
    const merged = await model.merge({ signal });
    await merged.save(values.out!, { dtype: values.dtype, tokenizerFrom: folder.tokenizerDir, signal });
    log.line(`${values.out}: ${folder.dir} with the adapter of ${folder.adapter.dir}`);
  } finally {
    await engine.dispose();
  }
}
