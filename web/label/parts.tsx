import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { ShownPrompt } from '../../lib/label/types.js';

/** People's and models' text, as it is. */
export function Text({ text }: { text: string }) {
  const shown = text.trim();
  return (
    <div class="text" dir="auto">
      {shown === '' ? <em>(empty)</em> : shown}
    </div>
  );
}

export function Prompt({ prompt }: { prompt: ShownPrompt }) {
  return (
    <section class="prompt" aria-labelledby="prompt">
      <h2 id="prompt">Prompt</h2>
      {typeof prompt === 'string' ? (
        <Text text={prompt} />
      ) : (
        <ol class="turns">
          {prompt.map(({ role, content }, i) => (
            <li key={i}>
              <span class="role">{role}</span>
              <Text text={String(content)} />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

/** The letter of a response, by its place. */
export const letter = (place: number): string => String.fromCharCode(65 + place);

export const Key = ({ children }: { children: ComponentChildren }) => (
  <span class="key" aria-hidden="true">
    {children}
  </span>
);

/** The heading of a step, which a screen reader is taken to when the step begins. */
export function StepHeading({ children, step }: { children: ComponentChildren; step: string | number }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => heading.current?.focus(), [step]);
  return (
    <h2 ref={heading} tabIndex={-1} class="step">
      {children}
    </h2>
  );
}

/** A native dialog: keeps the focus, closes with Escape. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby="dialog" onClose={onClose}>
      <h2 id="dialog">{title}</h2>
      {children}
    </dialog>
  );
}

const confidences = [
  [1, 'Low', 'z'],
  [2, 'Medium', 'x'],
  [3, 'High', 'c'],
] as const;

export const confidenceKeys = (set: (value: number) => void) =>
  Object.fromEntries(confidences.map(([value, , key]) => [key, () => set(value)]));

export function Confidence({ value, set }: { value: number | undefined; set: (value: number) => void }) {
  return (
    <fieldset class="scale">
      <legend>How sure are you?</legend>
      <div class="options">
        {confidences.map(([one, name, key]) => (
          <label key={one}>
            <input type="radio" name="confidence" checked={value === one} onChange={() => set(one)} />
            {name} <Key>{key}</Key>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
