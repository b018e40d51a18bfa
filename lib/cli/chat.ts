import { createInterface } from 'node:readline';
import { chatFields, UsageError, type Values } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import type { Message } from '../data/fields.js';
import { ChatTemplate, Frame } from '../data/index.js';
import { keyedSeed } from '../phases/order.js';
import { Engine } from '../runtime/engine.js';
import type { LanguageModel } from '../runtime/model.js';
import { streamText } from '../text/index.js';
import { type Command, type Context, machineOf } from './command.js';
import { Loader } from './load.js';
import { type ModelFolder, readModelFolder } from './models.js';
import { writeOut } from './output.js';

export const chat: Command<typeof chatFields> = {
  name: 'chat',
  summary: 'talk with a language model',
  about: `Each line you write is a turn; the answer is printed as it is sampled. /new starts a new dialogue, /exit or Ctrl-D ends the program,
Ctrl-C stops an answer. The oldest turns are dropped when the dialogue exceeds the model's positions.`,
  fields: chatFields,
  required: ['model'],
  examples: [
    ['with the frame of the embedded world', 'heed chat --model runs/align/ppo-ptx/model'],
    [
      "with a system message and the tokenizer's own template",
      "heed chat --model llama --template tokenizer --system 'Answer briefly.'",
    ],
  ],
  trains: false,
  run,
};

async function run(values: Values<typeof chatFields>, { signal, log }: Context): Promise<void> {
  const folder = await readModelFolder(values.model!, 'language', values.adapter);
  const { tokenizer } = folder;
  const template = await ChatTemplate.load(
    values.template ?? (tokenizer.chatTemplate === undefined ? 'plain' : 'tokenizer'),
    tokenizer,
  );
  checkSystem(values.system, template);
  const engine = await Engine.create({
    ...machineOf(values),
    maxTokens: Math.max(values.maxTokens, folder.config.maxPositions),
    signal,
  });
  try {
    const model = await new Loader(engine, signal, values.int8).language(folder);
    log.line(`${folder.dir}, ${template.name}. /new starts anew, /exit ends.`);
    await converse({ values, folder, template, model, signal });
  } finally {
    await engine.dispose();
  }
}

/** Some templates have no system turn. @throws UsageError before the first turn is written */
function checkSystem(system: string | undefined, template: ChatTemplate): void {
  if (system === undefined) return;
  try {
    template.prompt({
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: 'Hello' },
      ],
    });
  } catch (cause) {
    throw new UsageError(`--system cannot be used: ${(cause as Error).message}`, { cause });
  }
}

interface Conversation {
  readonly values: Values<typeof chatFields>;
  readonly folder: ModelFolder;
  readonly template: ChatTemplate;
  readonly model: LanguageModel;
  readonly signal: AbortSignal;
}

async function converse(c: Conversation): Promise<void> {
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const lines = createInterface({
    input: process.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: '> ',
  });
  const start: Message[] = c.values.system === undefined ? [] : [{ role: 'system', content: c.values.system }];
  let messages = [...start];
  let answering: AbortController | undefined;
  let turn = 0;
  lines.on('SIGINT', () => (answering ? answering.abort(kStopped) : lines.close()));
  c.signal.addEventListener('abort', () => lines.close(), { once: true });
  if (isTerminal) lines.prompt();
  for await (const line of lines) {
    const said = line.trim();
    if (said === '/exit') break;
    if (said === '/new') messages = [...start];
    else if (said !== '') {
      answering = new AbortController();
      messages.push({ role: 'user', content: said });
      const answer = await respond(
        c,
        messages,
        keyedSeed(c.values.seed, 'chat', turn++),
        AbortSignal.any([answering.signal, c.signal]),
      );
      messages.push({ role: 'assistant', content: answer });
      answering = undefined;
    }
    if (isTerminal) lines.prompt();
  }
  lines.close();
  c.signal.throwIfAborted();
}

const kStopped = new Error('the answer was stopped');

/** Prints the answer as it is sampled, and returns it. Drops the oldest of `messages` until there is room for an answer. */
async function respond(
  { values, folder, template, model }: Conversation,
  messages: Message[],
  seed: number,
  signal: AbortSignal,
): Promise<string> {
  const frame = new Frame(folder.tokenizer, template);
  const { maxPositions } = folder.config;
  const room = Math.min(values.maxNewTokens, Math.ceil(maxPositions / 4));
  let prompt = await frame.promptIds(template.prompt({ messages }));
  while (prompt.length + room > maxPositions) {
    const oldest = messages.findIndex((message, i) => message.role !== 'system' && i < messages.length - 1);
    if (oldest < 0)
      throw new HeedError(
        'ERR_INVALID_ARGUMENT',
        `this turn has ${prompt.length} tokens, expected at most the model's ${maxPositions} positions`,
      );
    messages.splice(oldest, messages[oldest + 1]?.role === 'assistant' ? 2 : 1);
    prompt = await frame.promptIds(template.prompt({ messages }));
  }

  let answer = '';
  try {
    const parts = streamText({
      model,
      tokenizer: folder.tokenizer,
      template,
      prompt: messages,
      maxNewTokens: values.maxNewTokens,
      temperature: values.temperature,
      topK: values.topK,
      topP: values.topP,
      stop: values.stop,
      seed,
      signal,
    });
    for await (const part of parts) {
      const text = answer === '' ? part.trimStart() : part;
      answer += text;
      if (text !== '') await writeOut(text);
    }
  } catch (error) {
    if (error !== kStopped) throw error;
  }
  await writeOut('\n');
  return answer.trim();
}
