/** The run that is looked at: what it does, its numbers, warnings, buttons, and answers. */
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { type Answer, type Asked, duration, type RunState, short } from './types.js';

interface DetailsOptions {
  readonly run: RunState;
  readonly phase: string;
  readonly mayAsk: boolean;
  readonly onAsk: (request: Asked) => void;
}

export function Details({ run, phase, mayAsk, onAsk }: DetailsOptions) {
  const { name, status, about, step, total, verdict, warnings } = run;
  const isLive = status !== 'stopped' && status !== 'finished';
  return (
    <section aria-labelledby="run">
      <div class="title">
        <h2 id="run">
          {phase}: {name}
        </h2>
        <span class={`chip ${status}`} role="status">
          {status}
        </span>
        {mayAsk && <Buttons run={run} onAsk={onAsk} />}
      </div>
      <p class="soft">
        {[
          about.model && `from ${about.model}`,
          about.command && `heed ${about.command}`,
          about.version && `version ${about.version}`,
        ]
          .filter(Boolean)
          .join(' · ')}
      </p>
      {total !== undefined && isLive && <progress value={step} max={total} aria-label={`Step ${step} of ${total}`} />}
      {verdict && <p class="lead">{verdict}</p>}
      <ul class="warnings" aria-label="Warnings" aria-live="polite">
        {warnings.map((text) => (
          <li key={text}>{text.charAt(0).toUpperCase() + text.slice(1)}.</li>
        ))}
      </ul>
      <Tiles run={run} isLive={isLive} />
    </section>
  );
}

function Buttons({ run, onAsk }: { run: RunState; onAsk: (request: Asked) => void }) {
  const { status, resumesAt } = run;
  const [isSure, setSure] = useState(false);
  if (status === 'stopped')
    return resumesAt === undefined ? null : (
      <button type="button" onClick={() => onAsk('resume')}>
        {resumesAt > 0 ? `Resume from step ${resumesAt}` : 'Start again'}
      </button>
    );
  if (status === 'finished' || status === 'stopping') return null;
  const isHeld = status === 'paused' || status === 'pausing';
  const stop = () => {
    if (isSure) onAsk('stop');
    setSure(!isSure);
  };
  return (
    <>
      <button type="button" onClick={() => onAsk(isHeld ? 'continue' : 'pause')}>
        {isHeld ? 'Continue' : 'Pause'}
      </button>
      <button type="button" onClick={stop} onBlur={() => setSure(false)}>
        {isSure ? 'Stop it: it saves first' : 'Stop'}
      </button>
    </>
  );
}

function Tiles({ run, isLive }: { run: RunState; isLive: boolean }) {
  const { step, total, tokensPerSecond, percentOfPeak, secondsPerStep, kl } = run;
  const left = total !== undefined && secondsPerStep !== undefined ? (total - step) * secondsPerStep : undefined;
  const bound = kl?.limit ?? kl?.target;
  return (
    <dl class="tiles">
      <Tile name="Step" note={isLive && left ? `about ${duration(left)} left` : undefined}>
        {step}
        {total ? ` of ${total}` : ''}
      </Tile>
      {tokensPerSecond !== undefined && (
        <Tile
          name="Tokens per second"
          note={percentOfPeak ? `${short(percentOfPeak)} % of the machine's peak` : undefined}
        >
          {short(tokensPerSecond)}
        </Tile>
      )}
      {kl && (
        <Tile
          name="KL from the reference"
          note={
            bound === undefined
              ? 'nats per response'
              : `nats per response; ${kl.limit === undefined ? `target ${short(bound)}` : `stops at ${short(bound)}`}`
          }
        >
          {short(kl.value)}
          {bound !== undefined && <meter value={kl.value} max={bound} high={0.8 * bound} aria-label="KL spent" />}
        </Tile>
      )}
    </dl>
  );
}

function Tile({ name, note, children }: { name: string; note?: string | undefined; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
      {note && <dd class="soft">{note}</dd>}
    </div>
  );
}

/** What the model answers to the same prompts, now and at a step of the reader's choice. */
export function Answers({ answers }: { answers: readonly Answer[] }) {
  const [at, setAt] = useState<number>();
  if (answers.length === 0) return null;
  const last = answers.length - 1;
  const then = Math.min(at ?? 0, last);
  const [earlier, now] = [answers[then]!, answers[last]!];
  return (
    <details open>
      <summary>Answers to {now.split === 'train' ? 'training' : 'held-out'} prompts, greedy</summary>
      {answers.length > 1 && (
        <label class="slider">
          Compare step {earlier.step} with step {now.step}
          <input
            type="range"
            min={0}
            max={last}
            value={then}
            aria-valuetext={`step ${earlier.step}`}
            onInput={({ currentTarget }) => setAt(Number(currentTarget.value))}
          />
        </label>
      )}
      {now.answers.map(({ prompt, text }, i) => (
        <article class="sample" key={prompt}>
          <p class="prompt">{prompt}</p>
          <div class="answers">
            {then !== last && (
              <div>
                <p class="soft">step {earlier.step}</p>
                <p class="text">{earlier.answers[i]?.text ?? ''}</p>
              </div>
            )}
            <div>
              <p class="soft">step {now.step}</p>
              <p class="text">{text}</p>
            </div>
          </div>
        </article>
      ))}
    </details>
  );
}
