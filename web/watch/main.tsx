/** The live page of runs. */
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../api.js';
import { Curves } from './curves.js';
import { Answers, Details } from './details.js';
import { RunList } from './list.js';
import { type Answer, colourOf, type Row, type Runs } from './types.js';
import './style.css';

/** Milliseconds between two looks; a page that nobody sees looks less often. */
const kLook = 1000;
const kLookHidden = 10_000;

interface Points {
  every: number;
  from: number;
  rows: Row[];
}

function Page() {
  const [runs, setRuns] = useState<Runs>();
  const [problem, setProblem] = useState('');
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const [chosen, setChosen] = useState<number>();
  const points = useRef(new Map<number, Points>());
  const answers = useRef(new Map<number, Answer[]>());

  useEffect(() => {
    let timer = 0;
    let ended = false;
    async function look() {
      try {
        const found = await call<Runs>('api/runs');
        await Promise.all(found.runs.map((run, id) => fetchRun(id, run.samplings, points.current, answers.current)));
        setRuns(found);
        setProblem('');
      } catch (error) {
        setProblem(error instanceof Error ? error.message : String(error));
      }
      if (!ended) timer = window.setTimeout(look, document.hidden ? kLookHidden : kLook);
    }
    look();
    const shown = () => {
      if (document.hidden) return;
      window.clearTimeout(timer);
      look();
    };
    document.addEventListener('visibilitychange', shown);
    return () => {
      ended = true;
      window.clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }, []);

  if (!runs) return <p class="soft">{problem || 'Reading the runs…'}</p>;
  // The newest run that is computed is what people came for.
  const id =
    chosen ??
    Math.max(
      0,
      runs.runs.findLastIndex(({ status }) => status !== 'finished' && status !== 'stopped'),
    );
  const run = runs.runs[id];
  if (!run)
    return (
      <p class="soft">
        No run has begun here yet. It appears by itself once a training command has written its first file.
      </p>
    );
  document.title = `${run.status === 'running' ? `${run.step}${run.total ? `/${run.total}` : ''} ` : ''}${run.name} · heed`;
  return (
    <>
      <header>
        <h1>heed watch</h1>
        {problem && (
          <p class="problem" role="alert">
            {problem} What is shown may be old.
          </p>
        )}
      </header>
      <RunList
        runs={runs.runs}
        phases={runs.phases}
        chosen={id}
        hidden={hidden}
        onChoose={setChosen}
        onHide={setHidden}
      />
      <Details
        key={id}
        run={run}
        phase={runs.phases[run.phase]?.name ?? run.phase}
        mayAsk={runs.mayAsk}
        onAsk={async (request) => {
          try {
            await (request === 'resume'
              ? call(`api/runs/${id}/resume`, {})
              : call(`api/runs/${id}/request`, { request }));
            setRuns(await call<Runs>('api/runs'));
          } catch (error) {
            setProblem(error instanceof Error ? error.message : String(error));
          }
        }}
      />
      {phasesFrom(runs, run.phase).map(([phase, { name, panels }]) => {
        const series = runs.runs.flatMap((each, i) =>
          each.phase === phase && !hidden.has(i)
            ? [{ name: each.name, colour: colourOf(i), rows: points.current.get(i)?.rows ?? [] }]
            : [],
        );
        return series.length > 0 && <Curves key={phase} name={name} panels={panels} runs={series} />;
      })}
      <Answers key={`answers ${id}`} answers={answers.current.get(id) ?? []} />
    </>
  );
}

/** The phases, the chosen run's first. */
const phasesFrom = ({ phases }: Runs, first: string) =>
  Object.entries(phases).sort(([a], [b]) => Number(b === first) - Number(a === first));

/** Gets what is new of a run's points and answers. */
async function fetchRun(id: number, samplings: number, points: Map<number, Points>, answers: Map<number, Answer[]>) {
  const have = points.get(id);
  // The last point may have grown.
  const from = have ? Math.max(0, have.rows.length - 1) : 0;
  const found = await call<Points>(`api/runs/${id}/points?every=${have?.every ?? 0}&from=${from}`);
  const kept = have && have.every === found.every ? have.rows.slice(0, found.from) : [];
  points.set(id, { ...found, rows: [...kept, ...found.rows] });
  if (samplings !== (answers.get(id)?.length ?? 0)) answers.set(id, await call<Answer[]>(`api/runs/${id}/answers`));
}

render(<Page />, document.getElementById('page')!);
