/** All outputs ranked: by drag, by number keys, or by the list in each card. Several may share a rank. */

import { useState } from 'preact/hooks';
import type { Draft } from '../../lib/label/types.js';
import { useDrag } from './drag.js';
import { useKeys } from './keys.js';
import { Confidence, confidenceKeys, Key, letter, StepHeading, Text } from './parts.js';

interface Props {
  readonly responses: readonly string[];
  readonly draft: Draft;
  readonly change: (change: Draft) => void;
  readonly onSubmit: () => void;
  readonly onBack: (() => void) | undefined;
}

export const isRanked = (draft: Draft, count: number): boolean =>
  draft.ranks?.length === count && draft.ranks.every((rank) => rank !== null);

/** What a screen reader says of a change. */
function inWords(place: number, rank: number | null, ranks: readonly (number | null)[]): string {
  const alike = ranks.flatMap((other, k) => (rank !== null && other === rank && k !== place ? [letter(k)] : []));
  const left = ranks.filter((other) => other === null).length;
  return [
    rank === null ? `Response ${letter(place)} has no rank` : `Response ${letter(place)} has rank ${rank + 1}`,
    ...(alike.length > 0 ? [`like ${alike.join(' and ')}`] : []),
    left > 0 ? `${left} not ranked yet` : 'all are ranked',
  ].join(', ');
}

export function Rank({ responses, draft, change, onSubmit, onBack }: Props) {
  const ranks = responses.map((_, k) => draft.ranks?.[k] ?? null);
  const [said, setSaid] = useState('');
  const put = (place: number, rank: number | null) => {
    const now = ranks.map((old, k) => (k === place ? rank : old));
    change({ ranks: now });
    setSaid(inWords(place, rank, now));
  };
  const board = useDrag((card, rank) => put(Number(card), rank === '' ? null : Number(rank)));
  const isReady = isRanked(draft, responses.length);

  const cards = () => [...(board.current?.querySelectorAll<HTMLElement>('[data-place]') ?? [])];
  const focused = () => cards().find((card) => card.contains(document.activeElement));
  const focus = (place: number) =>
    cards()
      .find((card) => Number(card.dataset.place) === place)
      ?.focus();
  const move = (by: number) => {
    const all = cards();
    const at = all.indexOf(focused()!);
    all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))]?.focus();
  };
  /** The card in focus, else the first without a rank; then the next one without a rank is in focus. */
  const give = (rank: number) => {
    const inFocus = focused()?.dataset.place;
    const place = inFocus === undefined ? ranks.indexOf(null) : Number(inFocus);
    if (place < 0) return;
    put(place, rank);
    const next = ranks.findIndex((old, k) => old === null && k !== place);
    requestAnimationFrame(() => focus(next < 0 ? place : next));
  };
  useKeys({
    ...Object.fromEntries(responses.map((_, rank) => [String(rank + 1), () => give(rank)])),
    ...confidenceKeys((confidence) => change({ confidence })),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    j: () => move(1),
    k: () => move(-1),
    Enter: isReady ? onSubmit : undefined,
    Backspace: onBack,
  });

  const list = (rank: number | null) => (
    <ul data-rank={rank ?? ''} aria-label={rank === null ? 'Not ranked yet' : `Rank ${rank + 1}`}>
      {ranks.map((own, place) =>
        own === rank ? (
          <li key={place} data-card={place}>
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: number keys rank the card in focus */}
            <article class="card" tabIndex={0} data-place={place} aria-label={`Response ${letter(place)}`}>
              <div class="grip">
                <span class="name">{letter(place)}</span>
                <span class="dots" aria-hidden="true">
                  ⠿
                </span>
                <label>
                  Rank
                  <select
                    aria-label={`Rank of response ${letter(place)}`}
                    value={own ?? ''}
                    onChange={(event) => {
                      const { value } = event.currentTarget;
                      put(place, value === '' ? null : Number(value));
                    }}
                  >
                    <option value="">–</option>
                    {responses.map((_, k) => (
                      <option key={k} value={k}>
                        {k + 1}
                      </option>
                    ))}
                  </select>
                </label>
              </div>
              <Text text={responses[place]!} />
            </article>
          </li>
        ) : null,
      )}
    </ul>
  );

  return (
    <section>
      <StepHeading step="rank">
        Rank all responses <small>equally good ones share a rank</small>
      </StepHeading>
      <p class="hidden" role="status">
        {said}
      </p>
      <div class="board" ref={board}>
        <div class="unranked">
          <h3>Not ranked yet</h3>
          {list(null)}
        </div>
        <div class="ranks">
          {responses.map((_, rank) => (
            <div class="rank" key={rank}>
              <h3>
                Rank {rank + 1}
                {rank === 0 && <small> best</small>}
                {rank === responses.length - 1 && <small> worst</small>} <Key>{rank + 1}</Key>
              </h3>
              {list(rank)}
            </div>
          ))}
        </div>
      </div>
      <Confidence value={draft.confidence} set={(confidence) => change({ confidence })} />
      <div class="actions">
        {onBack && (
          <button type="button" onClick={onBack}>
            Back <Key>⌫</Key>
          </button>
        )}
        <button type="button" class="main" disabled={!isReady} onClick={onSubmit}>
          Submit <Key>↵</Key>
        </button>
      </div>
    </section>
  );
}
