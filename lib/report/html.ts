/** HTML templates that escape what is interpolated, number formats, and the page around a report's sections. */
import type { Estimate } from './types.js';

/** Text that is already HTML. */
export class Markup {
  constructor(readonly text: string) {}
}

type Part = Markup | string | number | undefined | false | readonly Part[];

/** A template whose values are escaped unless they are {@link Markup}; lists are joined, `undefined` and `false` give nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly Part[]): Markup {
  return new Markup(strings.reduce((text, string, i) => text + render(values[i - 1]) + string));
}

function render(part: Part): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string' || typeof part === 'number') return escapeHtml(String(part));
  return part.map(render).join('');
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** 0.6123 → 61.2 % */
export function percent(share: number): string {
  return `${tenths(share)} %`;
}

const tenths = (share: number) => (100 * share).toFixed(1).replace(/^-(0\.0)$/, '$1');

/** Three significant digits, no exponent between 0.001 and a million. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  if (size >= 1000) return String(Math.round(value));
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3).replace(/^-(0\.?0*)$/, '$1');
}

/** 61.2 % [59.0, 63.4], or without percent for other numbers; 100.0 % [–] of one value, which has no interval. */
export function estimate({ value, low, high, count }: Estimate, unit: 'share' | 'number' = 'share'): string {
  if (count === 1) return `${unit === 'number' ? number(value) : percent(value)} [–]`;
  if (unit === 'number') return `${number(value)} [${number(low)}, ${number(high)}]`;
  return `${percent(value)} [${tenths(low)}, ${tenths(high)}]`;
}

/** 1 win, 2 wins. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${number(seconds)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A section with a title. */
export function section(title: string, note: Part, ...content: readonly Part[]): Markup {
  return html`<section><h2>${title}</h2>${note ? html`<p class="note">${note}</p>` : ''}${content}</section>`;
}

/** A table with a header row, omitted if empty, and body rows; columns of numbers are right-aligned. */
export function table(header: readonly Part[], rows: readonly (readonly Part[])[]): Markup {
  const numeric = header.map((_, column) => {
    const filled = rows.map((row) => row[column]).filter((part) => part !== '' && part !== undefined);
    return filled.length > 0 && filled.every(isNumeric);
  });
  const cell = (tag: string, part: Part, column: number) =>
    new Markup(`<${tag}${numeric[column] ? ' class="number"' : ''}>${render(part)}</${tag}>`);
  const head =
    header.some((part) => part !== '') &&
    html`<thead><tr>${header.map((part, i) => cell('th', part, i))}</tr></thead>\n`;
  return html`<div class="scroll"><table>${head}<tbody>
${rows.map((row) => html`<tr>${row.map((part, i) => cell('td', part, i))}</tr>\n`)}</tbody></table></div>`;
}

// 12, 1,200, 61.2 %, 61.2 % [59.0, 63.4], 20.1 s, 1 min 2 s
function isNumeric(part: Part): boolean {
  return (
    typeof part === 'number' ||
    (typeof part === 'string' && /^[-+]?[\d.,]+(e[+-]?\d+| ?%| ?s| h| min| \d+| \[.*\])*$/.test(part))
  );
}

/** A key number in large type. */
export function tile(name: string, value: Part, note?: Part): Markup {
  return html`<div class="tile"><div class="name">${name}</div><div class="value">${value}</div>${
    note ? html`<div class="note">${note}</div>` : ''
  }</div>`;
}

/** Collapsed content. */
export function folded(summary: string, content: Part): Markup {
  return html`<details><summary>${summary}</summary>${content}</details>`;
}

export function json(value: unknown): Markup {
  return html`<pre>${JSON.stringify(value, null, 2) ?? ''}</pre>`;
}

/** The HTML document, without scripts or external resources. */
export function page(title: string, style: string, body: Part): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${title}</title>
<style>${new Markup(style)}</style></head>
<body><main>${body}</main></body></html>
`.text;
}
