/** All runs: which is looked at, and whose curves are drawn. */
import { colourOf, type RunState, type Runs } from './types.js';

interface ListOptions {
  readonly runs: readonly RunState[];
  readonly phases: Runs['phases'];
  readonly chosen: number;
  readonly hidden: ReadonlySet<number>;
  readonly onChoose: (id: number) => void;
  readonly onHide: (hidden: ReadonlySet<number>) => void;
}

export function RunList({ runs, phases, chosen, hidden, onChoose, onHide }: ListOptions) {
  if (runs.length < 2) return null;
  const toggle = (id: number) => {
    const next = new Set(hidden);
    if (!next.delete(id)) next.add(id);
    onHide(next);
  };
  return (
    <nav aria-label="Runs">
      <ul class="runs">
        {runs.map(({ name, phase, status, step, total }, id) => (
          <li key={name} class={id === chosen ? 'chosen' : ''}>
            <label>
              <input type="checkbox" checked={!hidden.has(id)} onChange={() => toggle(id)} />
              <span class="swatch" style={{ background: colourOf(id) }} />
              <span class="sr">Draw the curves of {name}</span>
            </label>
            <button type="button" class="name" aria-pressed={id === chosen} onClick={() => onChoose(id)}>
              {name}
            </button>
            <span class="soft">{phases[phase]?.name ?? phase}</span>
            <span class={`chip ${status}`}>{status}</span>
            <span class="soft number">
              {step}
              {total ? `/${total}` : ''}
            </span>
          </li>
        ))}
      </ul>
    </nav>
  );
}
