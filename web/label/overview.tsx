/** How the labelling goes, live. */
import { useEffect, useState } from 'preact/hooks';
import type { Disagreement, LabelerRow, Measured, Overview } from '../../lib/label/types.js';
import { call } from '../api.js';
import { Curve } from './curve.js';
import { letter, Text } from './parts.js';

const kEvery = 3000;

export function OverviewPage() {
  const [overview, setOverview] = useState<Overview>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    let isGone = false;
    const load = () =>
      call<Overview>('api/overview').then(
        (found) => {
          if (isGone) return;
          setOverview(found);
          setFailure(undefined);
        },
        (error: Error) => !isGone && setFailure(error.message),
      );
    void load();
    const timer = setInterval(load, kEvery);
    return () => {
      isGone = true;
      clearInterval(timer);
    };
  }, []);
  return (
    <div class="overview">
      <h2>Overview</h2>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {overview ? <Found {...overview} /> : failure === undefined && <p role="status">The labels are being counted…</p>}
    </div>
  );
}

function Found(o: Overview) {
  const { items } = o;
  return (
    <>
      <dl class="numbers">
        <Shown name="labels" value={String(o.labels)} />
        <Shown name="prompts finished" value={`${items.finished} of ${items.total}`} />
        <Shown name="prompts waiting for responses" value={String(items.waiting)} />
        {items.unusable > 0 && <Shown name="prompts without enough responses" value={String(items.unusable)} />}
        <Shown name="agreement of labelers, pairs" value={percent(o.agreement)} />
        <Shown name="the same without ties" value={percent(o.agreementWithoutTies)} />
        <Shown name="Krippendorff's alpha" value={alpha(o.alpha)} />
        <Shown name="agreement with themselves" value={percent(o.self)} />
        <Shown name="own ratings that agree with own rankings" value={percent(o.ratings)} />
      </dl>
      <p class="note">{`As of ${new Date(o.at).toLocaleTimeString()}. In brackets 95 % intervals.`}</p>
      {o.learning.isOn && <Learning {...o.learning} />}
      <Labelers rows={o.labelers} />
      {o.skips.length > 0 && (
        <section>
          <h3>Skipped</h3>
          <ul>
            {o.skips.map(({ reason, count }) => (
              <li key={reason}>{`${count} × ${reason}`}</li>
            ))}
          </ul>
        </section>
      )}
      {o.disagreements.length > 0 && (
        <section>
          <h3>Disagreements to discuss</h3>
          {o.disagreements.map((one, i) => (
            <Discussed key={i} {...one} />
          ))}
        </section>
      )}
    </>
  );
}

function Shown({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Learning({ isTraining, curve, failure }: Overview['learning']) {
  const last = curve.at(-1);
  return (
    <section>
      <h3>Reward model</h3>
      <p role="status">
        {failure !== undefined
          ? `Training stopped: ${failure}`
          : isTraining
            ? 'It is training on the latest labels.'
            : last
              ? 'It is trained again when there are a quarter more labels.'
              : 'It is trained when there are enough labels.'}
      </p>
      {last && (
        <>
          <p>
            {`Held-out pairs in order: ${percent({ ...last, value: last.accuracy, count: last.pairs })}, after ${last.labels} labels.`}
          </p>
          <Curve points={curve} />
        </>
      )}
    </section>
  );
}

function Labelers({ rows }: { rows: readonly LabelerRow[] }) {
  return (
    <section>
      <h3>Labelers</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a wide table scrolls, by keys too */}
      <section class="scroll" aria-label="Table of labelers" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Done</th>
              <th scope="col">Skipped</th>
              <th scope="col">Seconds, median</th>
              <th scope="col">Agrees with others</th>
              <th scope="col">With themselves</th>
              <th scope="col">Attention items</th>
              <th scope="col">Ratings as rankings</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <th scope="row">{row.name}</th>
                <td>{row.done}</td>
                <td>{row.skipped}</td>
                <td>{row.seconds === undefined ? '–' : row.seconds.toFixed(1)}</td>
                <td>{percent(row.agreement)}</td>
                <td>{percent(row.self)}</td>
                <td>{row.attention.shown === 0 ? '–' : `${row.attention.passed} of ${row.attention.shown}`}</td>
                <td>{percent(row.ratings)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}

function Discussed({ prompt, responses, labels, agreement }: Disagreement) {
  const words = typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '');
  return (
    <details class="card">
      <summary>{`${Math.round(100 * agreement)} % of pairs alike: ${words.trim().slice(0, 100)}`}</summary>
      <Text text={words} />
      <table>
        <thead>
          <tr>
            <th scope="col">Response</th>
            {labels.map(({ labeler }) => (
              <th scope="col" key={labeler}>{`Rank by ${labeler}`}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {responses.map((text, k) => (
            <tr key={k}>
              <th scope="row">
                {letter(k)} <Text text={text} />
              </th>
              {labels.map(({ labeler, ranks }) => (
                <td key={labeler}>{typeof ranks[k] === 'number' ? ranks[k] + 1 : '–'}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function percent(measured: Measured | undefined): string {
  if (!measured) return '–';
  const [value, low, high] = [measured.value, measured.low, measured.high].map((share) => (100 * share).toFixed(0));
  return `${value} % [${low}, ${high}]`;
}

const alpha = (measured: Measured | undefined) =>
  measured ? `${measured.value.toFixed(2)} [${measured.low.toFixed(2)}, ${measured.high.toFixed(2)}]` : '–';
