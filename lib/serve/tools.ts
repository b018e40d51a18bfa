/** Tools that a request offers: the chat template describes them to the model, which may call them. */
import type { Message } from '../data/fields.js';
import type { Frame } from '../data/index.js';
import { RequestError } from '../http/server.js';
import { partsOf } from './calls.js';
import type { Service } from './service.js';

export interface Tool {
  readonly type: 'function';
  readonly function: {
    readonly name: string;
    readonly description?: string | null | undefined;
    readonly parameters?: Readonly<Record<string, unknown>> | null | undefined;
  };
}

/** How a chat template writes tools and calls of them. */
export interface ToolForm {
  /** Whether it shows the model the tools of a request. */
  readonly showsTools: boolean;
  /** Whether calls have the form that {@link partsOf} reads. */
  readonly readsCalls: boolean;
}

const kProbe: Tool = {
  type: 'function',
  function: { name: 'heed_probe', description: 'x', parameters: { type: 'object', properties: {} } },
};

/** Asks the template by rendering a tool and a call of it. */
export function toolFormOf(frame: Frame): ToolForm {
  const question: Message = { role: 'user', content: 'x' };
  const given = { heed: 1 };
  const call = { id: 'call00000', type: 'function', function: { name: 'heed_probe', arguments: given } };
  const turns = [question, { role: 'assistant', content: '', tool_calls: [call] }];
  const written = JSON.stringify([{ call: { name: 'heed_probe', arguments: JSON.stringify(given) } }]);
  const calls = () => partsOf(frame.promptText(turns)).filter((part) => 'call' in part);
  return {
    showsTools: holds(() => frame.promptText([question], { tools: [kProbe] }) !== frame.promptText([question])),
    readsCalls: holds(() => JSON.stringify(calls()) === written),
  };
}

/** false for a template that refuses what it is given, too, and where there is none. */
function holds(isSo: () => boolean): boolean {
  try {
    return isSo();
  } catch {
    return false;
  }
}

/**
 * The tools that the template shows; undefined without any.
 *
 * @throws RequestError 400 where it shows none: the model would never know of them
 */
export function toolsFor(
  { toolForm }: Service,
  tools: readonly Tool[] | null | undefined,
  choice: 'auto' | 'none' | null | undefined,
): { readonly shown: readonly Tool[]; readonly readsCalls: boolean } | undefined {
  if (!tools || tools.length === 0 || choice === 'none') return undefined;
  if (toolForm.showsTools) return { shown: tools, readsCalls: toolForm.readsCalls };
  throw new RequestError(
    400,
    'tools: the chat template has no place for them, expected none',
    'invalid_request_error',
    'tools',
    {},
    'unsupported_parameter',
  );
}
