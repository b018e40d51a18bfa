/** What the server sends: see lib/watch/run.ts and lib/report/panels.ts. */
import type { Panel } from '../../lib/report/panels.js';
import type { RunState } from '../../lib/watch/run.js';

export type { Panel, RunState };

export interface Runs {
  readonly mayAsk: boolean;
  readonly runs: readonly RunState[];
  readonly phases: Readonly<Record<string, { readonly name: string; readonly panels: readonly Panel[] }>>;
}

export type Row = { readonly step: number } & Readonly<Record<string, number>>;

export interface Answer {
  readonly step: number;
  readonly split: string;
  readonly answers: readonly { readonly prompt: string; readonly text: string }[];
}

export type Asked = 'pause' | 'continue' | 'stop' | 'resume';

/** The colour of the `i`-th run. */
export const colourOf = (i: number): string => `var(--run-${i % 8})`;

/** 2.31, 0.0231, 12 300 */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en');
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** 4 s, 3 min 5 s, 2 h 10 min */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
