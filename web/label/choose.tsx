/** The shorter ways to answer: one of two, good or bad, an answer of one's own. */
import { useState } from 'preact/hooks';
import type { Draft } from '../../lib/label/types.js';
import { useKeys } from './keys.js';
import { Confidence, confidenceKeys, Key, letter, StepHeading, Text } from './parts.js';

interface Props {
  readonly responses: readonly string[];
  readonly draft: Draft;
  readonly change: (change: Draft) => void;
  readonly onSubmit: () => void;
}

const choices = [
  ['A is better', '1', [0, 1]],
  ['About the same', '2', [0, 0]],
  ['B is better', '3', [1, 0]],
] as const;

export function Pair({ responses, draft, change, onSubmit }: Props) {
  const chosen = draft.ranks?.join();
  const isReady = chosen !== undefined && draft.ranks?.length === 2;
  useKeys({
    ...Object.fromEntries(choices.map(([, key, ranks]) => [key, () => change({ ranks })])),
    ...confidenceKeys((confidence) => change({ confidence })),
    Enter: isReady ? onSubmit : undefined,
  });
  return (
    <section>
      <StepHeading step="pair">Which response is better?</StepHeading>
      <div class="pair">
        {responses.map((text, k) => (
          <section class="card" key={k} aria-label={`Response ${letter(k)}`}>
            <h3>{letter(k)}</h3>
            <Text text={text} />
          </section>
        ))}
      </div>
      <fieldset class="scale">
        <legend>Your choice</legend>
        <div class="options">
          {choices.map(([words, key, ranks]) => (
            <label key={key}>
              <input type="radio" name="choice" checked={chosen === ranks.join()} onChange={() => change({ ranks })} />
              {words} <Key>{key}</Key>
            </label>
          ))}
        </div>
      </fieldset>
      <Confidence value={draft.confidence} set={(confidence) => change({ confidence })} />
      <Submit isReady={isReady} onSubmit={onSubmit} />
    </section>
  );
}

export const isThumbed = (draft: Draft, count: number): boolean =>
  draft.thumbs?.length === count && draft.thumbs.every((thumb) => thumb !== null);

export function Thumb({ responses, draft, change, onSubmit }: Props) {
  const thumbs = responses.map((_, k) => draft.thumbs?.[k] ?? null);
  const set = (place: number, good: boolean) => change({ thumbs: thumbs.map((old, k) => (k === place ? good : old)) });
  const isReady = isThumbed(draft, responses.length);
  const next = () => Math.max(0, thumbs.indexOf(null));
  useKeys({
    '1': () => set(next(), true),
    '2': () => set(next(), false),
    Enter: isReady ? onSubmit : undefined,
    Backspace: () => change({ thumbs: thumbs.map(() => null) }),
  });
  return (
    <section>
      <StepHeading step="thumb">
        {responses.length === 1 ? 'Is the response good?' : 'Which responses are good?'}
      </StepHeading>
      {responses.map((text, k) => (
        <div class="card" key={k}>
          <h3>Response {letter(k)}</h3>
          <Text text={text} />
          <fieldset class="scale">
            <legend class="hidden">Response {letter(k)} is</legend>
            <div class="options">
              {[true, false].map((good) => (
                <label key={String(good)}>
                  <input type="radio" name={`thumb-${k}`} checked={thumbs[k] === good} onChange={() => set(k, good)} />
                  <span aria-hidden="true">{good ? '👍' : '👎'}</span> {good ? 'Good' : 'Bad'}{' '}
                  {k === next() && <Key>{good ? 1 : 2}</Key>}
                </label>
              ))}
            </div>
          </fieldset>
        </div>
      ))}
      <Submit isReady={isReady} onSubmit={onSubmit} />
    </section>
  );
}

export function Write({ responses, draft, change, onSubmit }: Props) {
  const text = draft.text ?? '';
  const isReady = text.trim() !== '';
  const [shown, setShown] = useState(false);
  return (
    <section>
      <StepHeading step="write">Write the response that should have been given</StepHeading>
      <label class="hidden" for="answer">
        Your response
      </label>
      <textarea
        id="answer"
        rows={10}
        dir="auto"
        value={text}
        onInput={(event) => change({ text: event.currentTarget.value })}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && isReady) onSubmit();
        }}
      />
      {responses.length > 0 && (
        <details open={shown} onToggle={(event) => setShown(event.currentTarget.open)}>
          <summary>Begin with a model's response</summary>
          {responses.map((response, k) => (
            <div class="card" key={k}>
              <Text text={response} />
              <button type="button" onClick={() => change({ text: response.trim(), edited: k })}>
                Take this one
              </button>
            </div>
          ))}
        </details>
      )}
      <Submit isReady={isReady} onSubmit={onSubmit} hint="Ctrl ↵" />
    </section>
  );
}

function Submit({ isReady, onSubmit, hint = '↵' }: { isReady: boolean; onSubmit: () => void; hint?: string }) {
  return (
    <div class="actions">
      <button type="button" class="main" disabled={!isReady} onClick={onSubmit}>
        Submit <Key>{hint}</Key>
      </button>
    </div>
  );
}
