/** The plots of one phase, with the runs over each other. */
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { colourOf, type Panel, type Row, short } from './types.js';

export interface DrawnRun {
  readonly name: string;
  readonly colour: string;
  readonly rows: readonly Row[];
}

/** How many values a bold line is the mean of, on either side. */
const kSmooth = [0, 2, 5, 10, 25, 50];

export function Curves({ name, panels, runs }: { name: string; panels: readonly Panel[]; runs: readonly DrawnRun[] }) {
  const [smooth, setSmooth] = useState(1);
  const drawn = panels.filter(({ metrics }) =>
    runs.some(({ rows }) => rows.some((row) => Object.keys(metrics).some((metric) => row[metric] !== undefined))),
  );
  if (drawn.length === 0) return null;
  return (
    <section aria-label={`Curves of ${name}`}>
      <div class="title">
        <h2>{name}</h2>
        <label class="slider">
          Smoothing
          <input
            type="range"
            min={0}
            max={kSmooth.length - 1}
            value={smooth}
            aria-valuetext={`${2 * kSmooth[smooth]! + 1} values`}
            onInput={({ currentTarget }) => setSmooth(Number(currentTarget.value))}
          />
        </label>
        <span class="soft">Drag over a plot to zoom, double-click for all.</span>
      </div>
      <div class="plots">
        {drawn.map((panel) => (
          <Plot key={panel.title} panel={panel} runs={runs} half={kSmooth[smooth]!} group={name} />
        ))}
      </div>
    </section>
  );
}

interface Line {
  readonly label: string;
  readonly colour: string;
  readonly dash: number[];
  readonly values: ReadonlyMap<number, number>;
}

const kDashes = [[], [6, 4], [2, 3]];

function linesOf({ metrics }: Panel, runs: readonly DrawnRun[], half: number): Line[] {
  const names = Object.entries(metrics);
  const isAlone = runs.length === 1;
  return runs.flatMap(({ name, colour, rows }) =>
    names.flatMap(([metric, label], i): Line[] => {
      const points = rows.filter((row) => row[metric] !== undefined).map((row) => [row.step, row[metric]!] as const);
      if (points.length === 0) return [];
      const parts = [!isAlone && name, names.length > 1 && label].filter(Boolean);
      return [
        {
          label: parts.join(': ') || label,
          // One run's metrics differ in colour, several runs' in dashes.
          colour: isAlone ? colourOf(i) : colour,
          dash: isAlone ? [] : (kDashes[i] ?? []),
          values: new Map(smoothed(points, half)),
        },
      ];
    }),
  );
}

/** Fewer values are drawn as they are: they are rare measurements, not noise. */
const kFew = 40;

function smoothed(points: readonly (readonly [number, number])[], half: number): (readonly [number, number])[] {
  if (half === 0 || points.length < kFew) return [...points];
  return points.map(([step], i) => {
    const window = points.slice(Math.max(0, i - half), i + half + 1);
    return [step, window.reduce((sum, [, value]) => sum + value, 0) / window.length] as const;
  });
}

interface PlotOptions {
  readonly panel: Panel;
  readonly runs: readonly DrawnRun[];
  readonly half: number;
  readonly group: string;
}

function Plot({ panel, runs, half, group }: PlotOptions) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const lines = linesOf(panel, runs, half);
  const steps = [...new Set(lines.flatMap(({ values }) => [...values.keys()]))].sort((a, b) => a - b);
  const data = [
    steps,
    ...lines.map(({ values }) => steps.map((step) => values.get(step) ?? null)),
  ] as uPlot.AlignedData;
  const look = lines.map(({ label, colour }) => `${label}${colour}`).join();
  const format = (value: number | null | undefined) =>
    value == null ? '–' : panel.share ? `${short(100 * value)} %` : short(value);

  useEffect(() => {
    const width = () => Math.max(200, place.current!.clientWidth);
    plot.current = new uPlot(options(panel, lines, width(), group, format), data, place.current!);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: width(), height: kHeight }));
    observer.observe(place.current!);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
    };
  }, [look]);
  useEffect(() => {
    // A reader who has zoomed in keeps the view.
    const { min, max } = plot.current!.scales.x!;
    const [first, last] = [plot.current!.data[0][0], plot.current!.data[0].at(-1)];
    plot.current!.setData(data, min === undefined || (min === first && max === last));
  });

  const said = lines.map(({ label, values }) => {
    const all = [...values.values()];
    return `${label}: from ${format(all[0])} to ${format(all.at(-1))}`;
  });
  return (
    <figure>
      <figcaption>
        {panel.title} <span class="soft">{panel.note}</span>
      </figcaption>
      <div ref={place} role="img" aria-label={`${panel.title}. ${said.join('; ')}.`} />
    </figure>
  );
}

const kHeight = 190;

function options(
  panel: Panel,
  lines: readonly Line[],
  width: number,
  group: string,
  format: (value: number | null | undefined) => string,
): uPlot.Options {
  const variable = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const axis = {
    stroke: () => variable('--soft'),
    grid: { stroke: () => variable('--line'), width: 1 / devicePixelRatio },
    ticks: { show: false },
  };
  return {
    width,
    height: kHeight,
    cursor: { sync: { key: group }, points: { size: 6 } },
    legend: { live: true },
    scales: { x: { time: false }, y: { range: (_u, low, high) => rangeOf(low, high, panel.share) } },
    axes: [
      { ...axis, size: 30, values: (_u, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : '')) },
      { ...axis, size: 56, values: (_u, ticks) => ticks.map(format) },
    ],
    series: [
      { label: 'step', value: (_u, value) => (value == null ? '–' : String(value)) },
      ...lines.map(({ label, colour, dash, values }) => ({
        label,
        stroke: () => variable(colour.slice(4, -1)),
        dash,
        width: 1.6,
        spanGaps: true,
        points: { show: values.size < 30 },
        value: (_u: uPlot, value: number | null) => format(value),
      })),
    ],
    hooks: panel.level ? { draw: [(u) => drawLevel(u, panel.level!.y, variable('--soft'))] } : {},
  };
}

/** A little more than the values take; for one value a range around it. */
function rangeOf(low: number | null, high: number | null, share = false): [number, number] {
  if (low === null || high === null) return [0, 1];
  const pad = high > low ? 0.06 * (high - low) : Math.abs(high) * 0.1 || (share ? 0.05 : 0.5);
  return [low === 0 ? 0 : low - pad, high + pad];
}

function drawLevel(u: uPlot, y: number, colour: string) {
  const at = u.valToPos(y, 'y', true);
  const { left, top, width, height } = u.bbox;
  if (at < top || at > top + height) return;
  u.ctx.save();
  u.ctx.strokeStyle = colour;
  u.ctx.setLineDash([4, 4]);
  u.ctx.beginPath();
  u.ctx.moveTo(left, at);
  u.ctx.lineTo(left + width, at);
  u.ctx.stroke();
  u.ctx.restore();
}
