/** Shows the answers of several models to the same prompts side by side. */
import { html, type Markup, number, section } from './html.js';
import { modelName, modelVariable } from './style.js';
import type { Answer, Sample } from './types.js';

export function samplesSection(note: string, samples: readonly Sample[]): Markup | undefined {
  if (samples.length === 0) return undefined;
  return section('Sample answers', note, samples.map(sample));
}

function sample({ prompt, family, split, answers }: Sample): Markup {
  return html`<div class="sample"><div class="prompt"><span class="text">${prompt}</span>${chip(family)}${chip(
    split && split !== 'train' ? `unseen ${split}` : split,
  )}</div><div class="answers">${answers.map(answer)}</div></div>\n`;
}

function answer({ model, text, score, exact }: Answer): Markup {
  const right = exact === undefined ? '' : exact ? '✓ ' : '✗ ';
  const verdict = `${right}${score === undefined ? '' : number(score)}`.trim();
  const judged =
    verdict && html`<span class="chip${exact === undefined ? '' : exact ? ' good' : ' bad'}">${verdict}</span>`;
  return html`<div><div class="model"><span class="swatch" style="background:${modelVariable(model)}"></span>${modelName(
    model,
  )}${judged}</div><div class="text">${text}</div></div>`;
}

const chip = (text: string | undefined) => (text ? html`<span class="chip">${text}</span>` : '');
