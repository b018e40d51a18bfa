/** Samples a language model's answers to the prompts of an evaluation. */
import { Frame } from '../data/index.js';
import type { ChatTemplate } from '../data/template.js';
import type { LanguageModel } from '../runtime/model.js';
import { type GenerateTextOptions, generateText } from '../text/index.js';

export interface SampleOptions
  extends Pick<
    GenerateTextOptions,
    'maxNewTokens' | 'temperature' | 'topK' | 'topP' | 'stop' | 'seed' | 'signal' | 'tokenizer'
  > {
  readonly template?: ChatTemplate | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * One answer to each prompt; undefined for a prompt that is empty or leaves no room for an answer.
 *
 * @param prompts as the model reads them: rendered with its template
 */
export async function sampleAnswers(
  model: LanguageModel,
  prompts: readonly string[],
  { onProgress, template: _, ...o }: SampleOptions,
): Promise<(string | undefined)[]> {
  const frame = new Frame(o.tokenizer);
  const answers: (string | undefined)[] = prompts.map(() => undefined);
  const kAtOnce = 512;
  for (let begin = 0; begin < prompts.length; begin += kAtOnce) {
    const some = prompts.slice(begin, begin + kAtOnce);
    const lengths = await Promise.all(some.map(async (text) => (await frame.promptIds(text, o)).length));
    const fitting = some.flatMap((text, i) =>
      text.trim() !== '' && lengths[i]! < model.config.maxPositions ? [{ text, at: begin + i }] : [],
    );
    const texts = await generateText({ ...o, model, prompts: fitting.map(({ text }) => text) });
    fitting.forEach(({ at }, i) => {
      answers[at] = texts[i]!;
    });
    onProgress?.(begin + some.length);
  }
  return answers;
}
