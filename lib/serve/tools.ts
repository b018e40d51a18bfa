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
  try {
    const plainly = frame.promptText([question]);
    const showsTools = frame.promptText([question], { tools: [kProbe] }) !== plainly;
    const turns = [question, { role: 'assistant', content: '', tool_calls: [call] }];
    const written = { name: 'heed_probe', arguments: JSON.stringify(given) };
    const found = partsOf(frame.promptText(turns)).flatMap((part) => ('call' in part ? [part.call] : []));
    const readsCalls = found.length === 1 && JSON.stringify(found[0]) === JSON.stringify(written);
    return { showsTools, readsCalls };
  } catch {
    return { showsTools: false, readsCalls: false }; // it refuses tools, or there is none
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
