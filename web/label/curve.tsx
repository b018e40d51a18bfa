import type { Learnt } from '../../lib/label/types.js';

const [kWidth, kHeight] = [560, 240];
const margin = { left: 44, right: 12, top: 10, bottom: 34 };

/** Held-out accuracy against the number of labels, with its 95 % interval. */
export function Curve({ points }: { points: readonly Learnt[] }) {
  const most = Math.max(...points.map(({ labels }) => labels));
  const lowest = Math.min(0.5, ...points.map(({ low }) => low));
  const bottom = Math.floor(10 * lowest) / 10;
  const x = (labels: number) => margin.left + ((kWidth - margin.left - margin.right) * labels) / most;
  const y = (share: number) =>
    margin.top + ((kHeight - margin.top - margin.bottom) * (1 - share)) / Math.max(0.1, 1 - bottom);
  const line = points.map(({ labels, accuracy }) => `${x(labels)},${y(accuracy)}`).join(' ');
  const band = [
    ...points.map(({ labels, high }) => `${x(labels)},${y(high)}`),
    ...points.toReversed().map(({ labels, low }) => `${x(labels)},${y(low)}`),
  ].join(' ');
  const ticks = Array.from({ length: Math.round((1 - bottom) * 10) + 1 }, (_, i) => bottom + i / 10);
  const last = points.at(-1)!;
  return (
    <svg
      class="curve"
      viewBox={`0 0 ${kWidth} ${kHeight}`}
      role="img"
      aria-label={`Held-out accuracy against labels: ${(100 * last.accuracy).toFixed(0)} % after ${last.labels} labels`}
    >
      {ticks.map((share) => (
        <g key={share}>
          <line
            class={Math.abs(share - 0.5) < 1e-9 ? 'chance' : 'tick'}
            x1={margin.left}
            x2={kWidth - margin.right}
            y1={y(share)}
            y2={y(share)}
          />
          <text x={margin.left - 6} y={y(share) + 4} text-anchor="end">
            {`${Math.round(100 * share)} %`}
          </text>
        </g>
      ))}
      <polygon class="band" points={band} />
      <polyline class="line" points={line} />
      {points.map((point, i) => (
        <g key={i}>
          <line class="whisker" x1={x(point.labels)} x2={x(point.labels)} y1={y(point.low)} y2={y(point.high)} />
          <circle cx={x(point.labels)} cy={y(point.accuracy)} r="3" />
        </g>
      ))}
      <text x={margin.left} y={kHeight - margin.bottom + 16}>
        0
      </text>
      <text x={kWidth - margin.right} y={kHeight - margin.bottom + 16} text-anchor="end">
        {`${most} labels`}
      </text>
    </svg>
  );
}
