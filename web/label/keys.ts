/** Single keys as shortcuts. They can be switched off, for those who speak to their computer or share keys with a screen reader. */
import { useLayoutEffect, useRef } from 'preact/hooks';

const kSetting = 'heed-label-keys';

export const areKeysOn = (): boolean => localStorage.getItem(kSetting) !== 'off';
export const setKeysOn = (on: boolean): void => localStorage.setItem(kSetting, on ? 'on' : 'off');

type Keys = Readonly<Record<string, (() => void) | undefined>>;

/** Calls what is under the key's name, in lower case; Enter not where it presses a control. */
export function useKeys(keys: Keys): void {
  const current = useRef(keys);
  current.current = keys;
  // At once: a key that is pressed just after the one before must not fall into a gap.
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (!areKeysOn() || document.querySelector('dialog[open]')) return;
      const target = event.target as HTMLElement;
      if (target.matches('textarea, select, input:not([type=radio]):not([type=checkbox])')) return;
      if (event.key === 'Enter' && target.closest('button, a, summary, label')) return;
      if (/^Arrow/.test(event.key) && target.matches('input')) return; // moves in a group of radio buttons
      const act = current.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
}
