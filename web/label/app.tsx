import { useCallback, useEffect, useState } from 'preact/hooks';
import type { Next, Session } from '../../lib/label/types.js';
import { call } from '../api.js';
import { Guidelines } from './guidelines.js';
import { areKeysOn, setKeysOn, useKeys } from './keys.js';
import { OverviewPage } from './overview.js';
import { Dialog, Key } from './parts.js';
import { TaskView } from './task.js';

/** Milliseconds after which a page without work asks again. */
const kAgain = 2000;

export function App() {
  const [session, setSession] = useState<Session>();
  const [next, setNext] = useState<Next>();
  const [failure, setFailure] = useState<string>();
  const [view, setView] = useState(location.hash === '#overview' ? 'overview' : 'label');
  const [isHelp, setHelp] = useState(false);

  const ask = useCallback(async (work: () => Promise<Next>) => {
    try {
      const found = await work();
      setNext(found);
      setSession(await call<Session>('api/session'));
      setFailure(undefined);
    } catch (error) {
      setFailure((error as Error).message);
    }
  }, []);
  const load = useCallback(() => ask(() => call<Next>('api/next', {})), [ask]);
  const undo = () => void ask(() => call<Next>('api/undo', {}));

  useEffect(() => void load(), [load]);
  useEffect(() => {
    const onHash = () => {
      const isOverview = location.hash === '#overview';
      setView(isOverview ? 'overview' : 'label');
      // What was answered meanwhile is on the server.
      if (isOverview) setNext(undefined);
      else void load();
    };
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, [load]);
  const isIdle = failure !== undefined || (next && 'waiting' in next);
  useEffect(() => {
    if (!isIdle) return;
    const timer = setInterval(() => void load(), kAgain);
    return () => clearInterval(timer);
  }, [isIdle, load]);
  useKeys({ u: session?.canUndo ? undo : undefined, '?': () => setHelp(true) });

  const { progress } = session ?? {};
  return (
    <>
      <header>
        <h1>Label</h1>
        {session && progress && (
          <>
            <p class="progress">
              <span>{session.labeler}</span>
              <span>{`${progress.done} done`}</span>
              <span>{`${progress.left} left`}</span>
            </p>
            <nav aria-label="Page">
              {view === 'label' && (
                <button type="button" disabled={!session.canUndo} onClick={undo}>
                  Undo <Key>u</Key>
                </button>
              )}
              <button type="button" onClick={() => setHelp(true)}>
                Keys <Key>?</Key>
              </button>
              {session.isOwner &&
                (view === 'label' ? <a href="#overview">Overview</a> : <a href="#label">Back to labelling</a>)}
            </nav>
          </>
        )}
      </header>
      <main class={session?.guidelines && view === 'label' ? 'beside' : ''}>
        {failure !== undefined && (
          <p class="failure" role="alert">
            {failure}
          </p>
        )}
        {session &&
          (view === 'overview' && session.isOwner ? (
            <OverviewPage />
          ) : (
            <>
              <div class="work">{next && <Work session={session} next={next} onDone={load} />}</div>
              {session.guidelines !== '' && <Guidelines markdown={session.guidelines} />}
            </>
          ))}
      </main>
      {isHelp && <Help onClose={() => setHelp(false)} />}
    </>
  );
}

function Work({ session, next, onDone }: { session: Session; next: Next; onDone: () => void }) {
  if ('task' in next)
    return (
      <TaskView
        key={`${next.task.id}/${JSON.stringify(next.task.draft)}`}
        session={session}
        task={next.task}
        onDone={onDone}
      />
    );
  return (
    <p class="waiting" role="status">
      {next.waiting === 'sampling'
        ? 'The model is still writing responses. The next one appears here.'
        : 'Everything is labelled. Thank you!'}
      {next.unusable > 0 &&
        ` Left out, with too few distinct responses: ${next.unusable} ${next.unusable === 1 ? 'prompt' : 'prompts'}.`}
    </p>
  );
}

const help = [
  ['1 … 7', 'rate the response; when ranking, give the response in focus that rank'],
  ['letters', 'check or uncheck what applies'],
  ['↑ ↓', 'move between responses when ranking'],
  ['z x c', 'how sure you are'],
  ['↵', 'go on, or submit'],
  ['⌫', 'go back'],
  ['s', 'skip, with a reason'],
  ['u', 'undo the last item'],
] as const;

function Help({ onClose }: { onClose: () => void }) {
  const [isOn, setOn] = useState(areKeysOn());
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {help.map(([key, words]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{words}</dd>
          </div>
        ))}
      </dl>
      <label class="line">
        <input
          type="checkbox"
          checked={isOn}
          onChange={() => {
            setKeysOn(!isOn);
            setOn(!isOn);
          }}
        />
        Single keys are shortcuts
      </label>
      <div class="actions">
        <button type="button" class="main" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
