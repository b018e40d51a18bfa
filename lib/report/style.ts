/** Colours of models and of the page, light and dark, and the page's style sheet. */

interface Shade {
  readonly light: string;
  readonly dark: string;
}

// Charts are drawn with the light colours, which followScheme replaces with variables: they must all differ.
export const COLOURS = {
  page: { light: '#ffffff', dark: '#15171c' },
  card: { light: '#f6f7f9', dark: '#1d2027' },
  ink: { light: '#1b1f27', dark: '#e8eaee' },
  soft: { light: '#5d6675', dark: '#a2aab8' },
  line: { light: '#dde1e7', dark: '#343944' },
  good: { light: '#18794e', dark: '#4cc38a' },
  bad: { light: '#c62a2f', dark: '#ff7b7f' },
  base: { light: '#8b93a0', dark: '#7f8794' },
  fewshot: { light: '#8a6a2f', dark: '#c9a461' },
  sft: { light: '#2563d9', dark: '#74a6ff' },
  bestof: { light: '#0b8a80', dark: '#3fc9bb' },
  ppo: { light: '#c77700', dark: '#f5b041' },
  ppoptx: { light: '#b81f63', dark: '#ff77ab' },
} as const satisfies Record<string, Shade>;

export type Colour = keyof typeof COLOURS;

/** Names and colours of the models, in display order. */
export const MODELS: Readonly<Record<string, { readonly name: string; readonly colour: Colour }>> = {
  base: { name: 'base', colour: 'base' },
  'base-few-shot': { name: 'few-shot base', colour: 'fewshot' },
  sft: { name: 'SFT', colour: 'sft' },
  'sft-best-of-16': { name: 'SFT, best of 16', colour: 'bestof' },
  ppo: { name: 'PPO', colour: 'ppo' },
  'ppo-ptx': { name: 'PPO-ptx', colour: 'ppoptx' },
};

const BEST_OF = /^sft-best-of-(\d+)$/; // for other n than 16

export function modelName(model: string): string {
  const [, n] = BEST_OF.exec(model) ?? [];
  return n ? `SFT, best of ${n}` : Object.hasOwn(MODELS, model) ? MODELS[model]!.name : model;
}

function colourOf(model: string): Colour {
  return BEST_OF.test(model) ? 'bestof' : Object.hasOwn(MODELS, model) ? MODELS[model]!.colour : 'soft';
}

/** A colour for charts, which {@link followScheme} replaces. */
export function modelColour(model: string): string {
  return COLOURS[colourOf(model)].light;
}

/** A colour for the page. */
export function modelVariable(model: string): string {
  return `var(--${colourOf(model)})`;
}

/** Models in the order of {@link MODELS}, unknown ones last. */
export function sortModels(models: Iterable<string>): string[] {
  const order = Object.keys(MODELS);
  const place = (model: string) => {
    const at = order.indexOf(BEST_OF.test(model) ? 'sft-best-of-16' : model);
    return at < 0 ? order.length : at;
  };
  return [...new Set(models)].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}

function variables(shade: keyof Shade): string {
  return Object.entries(COLOURS)
    .map(([name, colour]) => `--${name}:${colour[shade]};`)
    .join('');
}

/** The colours as CSS variables, for a page or a standalone SVG. */
export const COLOUR_STYLE = `:root{${variables('light')}}@media (prefers-color-scheme: dark){:root{${variables('dark')}}}`;

/** Makes a chart drawn with the light colours follow the reader's colour scheme. */
export function followScheme(svg: string): string {
  return Object.entries(COLOURS).reduce((text, [name, { light }]) => text.replaceAll(light, `var(--${name})`), svg);
}

export const PAGE_STYLE = `${COLOUR_STYLE}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:28px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em}
h1,h2,h3,p,li,summary,figcaption,.answers .model{overflow-wrap:anywhere}
.answers .model{white-space:normal}
h2{font-size:19px;margin:0 0 4px}
h3{font-size:15px;margin:18px 0 4px}
section{margin-top:44px}
.lead{font-size:18px;max-width:62em;margin:14px 0 0}
.note,.byline{color:var(--soft);font-size:13.5px;margin:0 0 12px;max-width:64em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:12px;margin-top:22px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tile .name{font-size:13px;color:var(--soft)}
.tile .value{font-size:24px;white-space:nowrap;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums}
.tile .note{margin:2px 0 0;font-size:12.5px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));gap:12px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 12px}
figure svg{display:block;width:100%;height:auto}
figcaption{font-size:13px;font-weight:600;padding:2px 4px 4px}
figcaption span{font-weight:400;color:var(--soft)}
.scroll{overflow-x:auto;margin-top:10px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{font-weight:600;text-align:left;color:var(--soft);border-bottom:1px solid var(--line);padding:6px 10px 6px 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:6px 10px 6px 0;vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap}
td svg{display:block}
.swatch{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:6px}
.model{white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.soft{color:var(--soft)}
.chip{display:inline-block;font-size:11.5px;line-height:1.5;padding:0 7px;border-radius:9px;border:1px solid var(--line);color:var(--soft);margin-left:6px;white-space:nowrap}
.chip.good{border-color:var(--good)}.chip.bad{border-color:var(--bad)}
.text{white-space:pre-wrap;overflow-wrap:anywhere}
.sample{border:1px solid var(--line);border-radius:10px;margin:0 0 12px;overflow:hidden}
.sample .prompt{background:var(--card);padding:9px 14px;font-weight:600}
.sample .answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}
.sample .answers>div{padding:9px 6px 9px 14px}
.sample .answers .model{font-size:12.5px;color:var(--soft)}
.warnings{margin:8px 0;padding-left:20px}.warnings li{margin:4px 0;color:var(--bad)}
details{margin:10px 0}summary{cursor:pointer;color:var(--soft);font-size:13.5px}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px;overflow-x:auto;font-size:12.5px;line-height:1.5}
`;
