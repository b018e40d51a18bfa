/** Plots as SVG text, drawn by ECharts without a browser; colours follow the reader's light or dark scheme. */
import { drawSvg } from './echarts.js';
import { html, Markup } from './html.js';
import { COLOURS, followScheme } from './style.js';

// Names without quotes, since they are used in attributes.
const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif';
const INK = COLOURS.ink.light;
const SOFT = COLOURS.soft.light;
const LINE = COLOURS.line.light;

export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly points: readonly (readonly [number, number])[];
  /** Default `line`; `both` marks the points on it. */
  readonly mark?: 'line' | 'points' | 'both';
  readonly dashed?: boolean;
  /** The raw values of a smoothed line: thin, pale, not in the legend. */
  readonly faint?: boolean;
  /** Labels beside the points. */
  readonly labels?: readonly string[];
}

export interface LinePlot {
  readonly series: readonly Series[];
  readonly xName: string;
  /** A dashed horizontal line, e.g. at chance. */
  readonly level?: { readonly y: number; readonly name: string };
  readonly yFormat?: (value: number) => string;
  readonly xMin?: number;
  readonly yMax?: number;
  readonly width?: number;
  readonly height?: number;
}

/** Plots y over x as lines and points. */
export function linePlot({ series, xName, level, yFormat, xMin, yMax, width = 340, height = 220 }: LinePlot): Markup {
  const named = series.filter(({ faint }) => !faint);
  const levelLine = level && {
    silent: true,
    symbol: 'none',
    lineStyle: { color: SOFT, type: 'dashed', width: 1 },
    label: { formatter: level.name, position: 'insideEndTop', color: SOFT, fontSize: 10.5, fontFamily: FONT },
    data: [{ yAxis: level.y }],
  };
  return draw(width, height, {
    legend: {
      show: named.length > 1,
      data: named.map(({ name }) => name),
      top: 0,
      left: 4,
      itemWidth: 16,
      itemHeight: 7,
      itemGap: 12,
      textStyle: { color: SOFT, fontSize: 11, fontFamily: FONT },
    },
    grid: { left: 4, right: 14, top: named.length > 1 ? 34 : 12, bottom: 20, ...INSIDE },
    xAxis: {
      ...valueAxis(xName),
      splitLine: { show: false },
      min: xMin ?? 'dataMin',
      max: 'dataMax',
      ...(xName === 'step' ? { minInterval: 1 } : {}),
    },
    yAxis: {
      ...valueAxis(),
      ...(yFormat ? { axisLabel: { ...axisLabel, formatter: yFormat } } : {}),
      scale: true,
      ...(yMax === undefined ? {} : { max: yMax }),
    },
    series: series.map((one, i) => ({
      type: one.mark === 'points' ? 'scatter' : 'line',
      name: one.name,
      data: one.points.map(([x, y], k) => ({
        value: [x, y],
        label: { show: one.labels !== undefined, formatter: one.labels?.[k] ?? '' },
      })),
      color: one.colour,
      symbol: one.mark === undefined || one.mark === 'line' ? 'none' : 'circle',
      symbolSize: one.mark === 'both' ? 6 : 7,
      label: { position: 'top', color: SOFT, fontSize: 10, fontFamily: FONT },
      lineStyle: { width: one.faint ? 1 : 2, opacity: one.faint ? 0.3 : 1, ...(one.dashed ? { type: [5, 4] } : {}) },
      silent: true,
      ...(i === 0 && levelLine ? { markLine: levelLine } : {}),
    })),
  });
}

export interface Interval {
  readonly row: string;
  readonly name: string;
  readonly colour: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** An open circle instead of a filled one. */
  readonly open?: boolean;
}

export interface IntervalPlot {
  /** From top to bottom; several marks of a row are drawn below each other. */
  readonly rows: readonly string[];
  readonly intervals: readonly Interval[];
  /** A vertical reference line: 0.5, where models draw. */
  readonly middle?: number;
  readonly width?: number;
  readonly rowHeight?: number;
  /** Whether to print the value beside its mark. */
  readonly values?: boolean;
}

/** Fractions with their intervals, one per row. */
export function intervalPlot({
  rows,
  intervals,
  middle,
  width = 1000,
  rowHeight = 44,
  values = true,
}: IntervalPlot): Markup {
  const height = rows.length * rowHeight + 34;
  const labelWidth = 7.4 * Math.max(...rows.map((row) => row.length)) + 20; // no browser here to measure text with
  const inRow = (row: string) => intervals.filter((interval) => interval.row === row);
  return draw(width, height, {
    grid: { left: labelWidth, right: 24, top: 6, bottom: 24 },
    xAxis: {
      ...valueAxis(),
      min: 0,
      max: 1,
      interval: 0.1,
      axisLabel: { ...axisLabel, formatter: (value: number) => `${Math.round(100 * value)} %` },
    },
    yAxis: {
      type: 'category',
      data: rows,
      inverse: true,
      axisLine: { show: false },
      axisTick: { show: false },
      axisLabel: { color: INK, fontSize: 13, fontFamily: FONT, margin: 12 },
    },
    series: [
      {
        type: 'custom',
        silent: true,
        data: intervals.map(({ row }, i) => [0, rows.indexOf(row), i]),
        renderItem: (
          _params: unknown,
          api: { value(i: number): number; coord(point: [number, number]): [number, number] },
        ) => {
          const interval = intervals[api.value(2)]!;
          const siblings = inRow(interval.row);
          const shift =
            (siblings.indexOf(interval) - (siblings.length - 1) / 2) * Math.min(15, (rowHeight - 6) / siblings.length);
          const at = (x: number): [number, number] => {
            const [px, py] = api.coord([x, api.value(1)]);
            return [px, py + shift];
          };
          return { type: 'group', children: intervalShapes(interval, at, values) };
        },
        ...(middle === undefined
          ? {}
          : {
              markLine: {
                silent: true,
                symbol: 'none',
                label: { show: false },
                lineStyle: { color: SOFT, type: 'solid', width: 1.2 },
                data: [{ xAxis: middle }],
              },
            }),
      },
    ],
  });
}

function intervalShapes(
  { colour, value, low, high, open }: Interval,
  at: (x: number) => [number, number],
  values: boolean,
) {
  const [x, y] = at(value);
  const [from] = at(low);
  const [to] = at(high);
  const right = to + 72 < at(1)[0];
  const text = `${(100 * value).toFixed(1)} %`;
  return [
    {
      type: 'line',
      shape: { x1: from, y1: y, x2: to, y2: y },
      style: { stroke: colour, lineWidth: 2.5, opacity: open ? 0.55 : 1 },
    },
    {
      type: 'circle',
      shape: { cx: x, cy: y, r: 5 },
      style: { fill: open ? COLOURS.card.light : colour, stroke: colour, lineWidth: 2 },
    },
    ...(values
      ? [
          {
            type: 'text',
            x: right ? to + 9 : from - 9,
            y,
            style: {
              text,
              fill: open ? SOFT : INK,
              font: `12px ${FONT}`,
              align: right ? 'left' : 'right',
              verticalAlign: 'middle',
            },
          },
        ]
      : []),
  ];
}

/** An interval between 0 and 1 as a small plot for a table cell. */
export function intervalCell(
  { value, low, high }: { value: number; low: number; high: number },
  colour: string,
): Markup {
  const x = (share: number) => (2 + 136 * share).toFixed(1);
  return html`<svg width="140" height="16" viewBox="0 0 140 16" role="img"><path d="M2 8H138" stroke="var(--line)"/><path d="M70 2V14" stroke="var(--soft)"/><path d="M${x(low)} 8H${x(high)}" stroke="${colour}" stroke-width="2.5"/><circle cx="${x(value)}" cy="8" r="3.5" fill="${colour}"/></svg>`;
}

/** A plot with a caption. */
export function figure(title: string, note: string, plot: Markup): Markup {
  return html`<figure><figcaption>${title} <span>${note}</span></figcaption>${plot}</figure>`;
}

// Axis labels are drawn within the grid's margins.
const INSIDE = { outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' };

const axisLabel = { color: SOFT, fontSize: 11, fontFamily: FONT };

function valueAxis(name?: string): Record<string, unknown> {
  return {
    type: 'value',
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: LINE, width: 1 } },
    axisLabel,
    ...(name
      ? { name, nameLocation: 'middle', nameGap: 20, nameTextStyle: { color: SOFT, fontSize: 11, fontFamily: FONT } }
      : {}),
  };
}

function draw(width: number, height: number, option: Record<string, unknown>): Markup {
  // Removes what only a pointer would use, and clip paths, which clip nothing here and whose ids depend on earlier plots.
  const svg = drawSvg(width, height, { animation: false, ...option })
    .replace(/ (class|pointer-events|clip-path|ecmeta_[a-z_]+)="[^"]*"/g, '')
    .replace(/<(style|defs)[\s\S]*?<\/\1>\s*/g, '');
  return new Markup(followScheme(svg));
}
