/** One output alone: overall quality, and what applies to it. */
import type { Draft, Flag, Session } from '../../lib/label/types.js';
import { useKeys } from './keys.js';
import { Key, letter, StepHeading, Text } from './parts.js';

interface Props {
  readonly session: Session;
  readonly responses: readonly string[];
  readonly place: number;
  readonly draft: Draft;
  readonly change: (change: Draft) => void;
}

const ratings = [1, 2, 3, 4, 5, 6, 7];
const kFlagKeys = 'abdefghiklm'; // not c, s, u, x and z, which have other uses

export const isRated = (draft: Draft, place: number): boolean => (draft.ratings?.[place]?.rating ?? null) !== null;

export function Rate({ session, responses, place, draft, change }: Props) {
  const own = draft.ratings?.[place] ?? { rating: null, flags: [] };
  const set = (one: NonNullable<typeof own>) =>
    change({ ratings: responses.map((_, k) => (k === place ? one : (draft.ratings?.[k] ?? null))) });
  const rate = (rating: number) => set({ ...own, rating });
  const toggle = (flag: Flag) =>
    set({
      ...own,
      flags: own.flags.includes(flag) ? own.flags.filter((one) => one !== flag) : [...own.flags, flag],
    });
  const next = () => isRated(draft, place) && change({ step: place + 1 });
  useKeys({
    ...Object.fromEntries(ratings.map((rating) => [String(rating), () => rate(rating)])),
    ...Object.fromEntries(session.flags.map(([flag], i) => [kFlagKeys[i]!, () => toggle(flag)])),
    Enter: next,
    Backspace: place > 0 ? () => change({ step: place - 1 }) : undefined,
  });
  return (
    <section>
      <StepHeading step={place}>
        Response {letter(place)} <small>{`${place + 1} of ${responses.length}, judged alone`}</small>
      </StepHeading>
      <div class="card">
        <Text text={responses[place]!} />
      </div>
      <fieldset class="scale">
        <legend>Overall quality</legend>
        <div class="options">
          {ratings.map((rating) => (
            <label key={rating} class="number">
              <input type="radio" name="rating" checked={own.rating === rating} onChange={() => rate(rating)} />
              {rating}
            </label>
          ))}
        </div>
        <p class="ends">
          <span>1 is worst</span>
          <span>7 is best</span>
        </p>
      </fieldset>
      <fieldset>
        <legend>Check what applies</legend>
        <ul class="flags">
          {session.flags.map(([flag, words], i) => (
            <li key={flag}>
              <label>
                <input type="checkbox" checked={own.flags.includes(flag)} onChange={() => toggle(flag)} />
                <span>{words}</span> <Key>{kFlagKeys[i]}</Key>
              </label>
            </li>
          ))}
        </ul>
      </fieldset>
      <div class="actions">
        {place > 0 && (
          <button type="button" onClick={() => change({ step: place - 1 })}>
            Back <Key>⌫</Key>
          </button>
        )}
        <button type="button" class="main" disabled={!isRated(draft, place)} onClick={next}>
          {place + 1 < responses.length ? 'Next response' : 'Rank them'} <Key>↵</Key>
        </button>
      </div>
    </section>
  );
}
