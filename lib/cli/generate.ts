import { generateFields, UsageError, type Values } from '../config/index.js';
import { rowError } from '../data/fields.js';
import { isBlank } from '../data/frame.js';
import { Frame, type Row } from '../data/index.js';
import { eachRow } from '../data/portions.js';
import { readSomeRows } from '../data/rows.js';
import { keyedSeed } from '../phases/order.js';
import { Engine } from '../runtime/engine.js';
import { stopTokensOf, stopWhen, textOf } from '../text/stop.js';
import { type Command, type Context, machineOf } from './command.js';
import { Loader } from './load.js';
import { type ModelFolder, readModelFolder, templateFor } from './models.js';
import { float32Json, RowWriter } from './output.js';

export const generate: Command<typeof generateFields> = {
  name: 'generate',
  summary: 'sample responses to prompts',
  about: `Writes one row per prompt, in order: {prompt, response, finished, tokens}, and logprobs with --logprobs. A response depends only on
its prompt, the seed and the sampling options, not on the other prompts.`,
  fields: generateFields,
  required: ['model'],
  examples: [
    ['one prompt', "heed generate --model runs/sft/model --prompt 'User: What does a cow say?'"],
    [
      'a file, greedily, with log-probabilities',
      'heed generate --model runs/ppo/model --prompts prompts.jsonl --temperature 0 --logprobs --out answers.jsonl',
    ],
    [
      'stop at the end of a line',
      "heed generate --model base --prompt 'Once upon a time' --stop $'\\n' --max-new-tokens 60",
    ],
  ],
  trains: false,
  run,
};

interface Request {
  readonly text: string;
  readonly tokens: Int32Array;
  readonly seed: number;
}

async function run(values: Values<typeof generateFields>, { signal, log }: Context): Promise<void> {
  if (values.prompts === undefined && values.prompt === undefined) {
    throw new UsageError('heed generate needs --prompts FILE or --prompt TEXT');
  }
  const folder = await readModelFolder(values.model!, 'language', values.adapter);
  const frame = new Frame(folder.tokenizer, await templateFor(values.template, folder.tokenizer));
  const requests = await readRequests(values, frame, folder, signal);
  const maxTokens = requests.reduce((most, { tokens }) => Math.max(most, tokens.length), values.maxTokens);
  const writer = await RowWriter.open(values.out);
  let engine: Engine | undefined;
  try {
    engine = await Engine.create({ ...machineOf(values), maxTokens, signal });
    const model = await new Loader(engine, signal, values.int8).language(folder);
    const stage = log.stage('generate', requests.length, 'responses');
    const kAtOnce = 16 * values.slots; // rows are written after each group; slots are idle only at its end
    for (let begin = 0; begin < requests.length; begin += kAtOnce) {
      const some = requests.slice(begin, begin + kAtOnce);
      const completions = await model.generate(
        some.map(({ tokens, seed }) => ({
          prompt: tokens,
          seed,
          maxNewTokens: Math.min(values.maxNewTokens, folder.config.maxPositions - tokens.length),
        })),
        {
          maxNewTokens: values.maxNewTokens,
          temperature: values.temperature,
          topK: values.topK,
          topP: values.topP,
          stopTokens: stopTokensOf(folder),
          slots: values.slots,
          stopWhen: stopWhen(values.stop, folder.tokenizer),
          signal,
          onProgress: ({ done }) => stage.update(begin + done),
        },
      );
      for (const { request, tokens, logprobs, finished } of completions) {
        const finite = float32Json(logprobs, folder.adapter?.dir ?? folder.dir); // fails for a model whose weights are not finite
        await writer.write({
          prompt: some[request]!.text,
          response: textOf({ prompt: some[request]!.tokens, tokens }, folder.tokenizer, values.stop),
          finished,
          tokens: Array.from(tokens),
          ...(values.logprobs ? { logprobs: finite } : {}),
        });
      }
    }
    stage.end();
    await writer.finish();
  } catch (error) {
    await writer.abandon();
    throw error;
  } finally {
    await engine?.dispose();
  }
}

/** The texts of --prompt, then the rows of the files. */
async function readRequests(
  values: Values<typeof generateFields>,
  frame: Frame,
  folder: ModelFolder,
  signal: AbortSignal,
): Promise<Request[]> {
  const typed = (values.prompt ?? []).map((prompt, i): Row => ({ file: '--prompt', line: i + 1, value: { prompt } }));
  const sources: Row[][] = [typed];
  for (const file of values.prompts ?? []) sources.push(await readSomeRows(file, { signal }));
  const asked = new Map<string, number>();
  const { maxPositions } = folder.config;
  const reading = eachRow(sources.flat(), { signal }, async (row) => {
    const text = frame.prompt(row);
    if (isBlank(text)) throw rowError(row, 'is empty, expected at least one word', 'prompt');
    const tokens = await frame.promptIds(text, { signal });
    if (tokens.length >= maxPositions) {
      throw rowError(
        row,
        `has ${tokens.length} tokens, expected fewer than the ${maxPositions} positions of ${folder.dir}`,
        'prompt',
      );
    }
    return { text, tokens };
  });
  const prompts: { text: string; tokens: Int32Array }[] = [];
  for await (const prompt of reading) prompts.push(prompt);
  return prompts.map(({ text, tokens }) => {
    // Seeded by its text, so that a prompt's response is the same in any file; equal prompts in one file get different responses.
    const occurrence = asked.get(text) ?? 0;
    asked.set(text, occurrence + 1);
    return { text, tokens, seed: keyedSeed(values.seed, 'generate', occurrence, text) };
  });
}
