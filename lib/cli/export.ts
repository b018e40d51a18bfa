import { exportFields, type Values } from '../config/index.js';
import { exportGguf } from '../gguf/index.js';
import { Engine } from '../runtime/engine.js';
import type { Command, Context } from './command.js';
import { Loader } from './load.js';
import { readModelFolder } from './models.js';

export const exporting: Command<typeof exportFields> = {
  name: 'export',
  summary: 'a model as a GGUF file, for llama.cpp',
  about: `One file with the weights and the tokenizer. An adapter is merged into its base first. What llama.cpp cannot compute or tokenise is
refused by name.`,
  fields: exportFields,
  required: ['model', 'gguf'],
  examples: [
    ['a model for llama.cpp, ollama or LM Studio', 'heed export --model runs/ppo/model --gguf model.gguf'],
    ['in 8 bits', 'heed export --model runs/ppo/model --gguf model-q8.gguf --type q8_0'],
  ],
  trains: false,
  run,
};

async function run(values: Values<typeof exportFields>, { signal, log }: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, 'language', values.adapter);
  const engine = await Engine.create({ maxTokens: 1, signal });
  try {
    const model = await new Loader(engine, signal).language(folder);
    await exportGguf(model, values.gguf!, { type: values.type, tokenizerFrom: folder.tokenizerDir, signal });
    log.line(`${values.gguf}: ${values.model} in ${values.type}`);
  } finally {
    await engine.dispose();
  }
}
