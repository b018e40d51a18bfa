import { useState } from 'preact/hooks';
import type { Answer, Draft, Session, Task } from '../../lib/label/types.js';
import { call } from '../api.js';
import { Pair, Thumb, Write } from './choose.js';
import { useDraft } from './draft.js';
import { useKeys } from './keys.js';
import { Dialog, Key, Prompt } from './parts.js';
import { Rank } from './rank.js';
import { Rate } from './rate.js';

interface Props {
  readonly session: Session;
  readonly task: Task;
  /** The task is closed. */
  readonly onDone: () => void;
}

const kReasons = [
  'I do not understand the prompt',
  'I do not know enough to judge',
  'The prompt is offensive or disturbing',
  'The prompt contains private information',
];

export function TaskView({ session, task, onDone }: Props) {
  const { draft, change, problem, stop, seconds } = useDraft(task);
  const [failure, setFailure] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const [isSkipping, setSkipping] = useState(false);
  useKeys({ s: () => setSkipping(true) });

  async function close(path: string, body: unknown) {
    if (isBusy) return;
    setBusy(true);
    setFailure(undefined);
    try {
      await call(`api/tasks/${task.id}/${path}`, body);
      stop();
      onDone();
    } catch (error) {
      const { message } = error as Error;
      // The server has it, and its answer was lost on the way.
      if (/ is (done|skipped) already$/.test(message)) return onDone();
      setFailure(message);
      setBusy(false);
    }
  }
  const submit = () => void close('submit', answerOf(session, draft, seconds()));

  const { responses } = task;
  const step = session.rates ? Math.min(draft.step ?? 0, responses.length) : responses.length;
  const shared = { responses, draft, change, onSubmit: submit };
  return (
    <div class="task">
      <Prompt prompt={task.prompt} />
      {session.mode === 'pair' && <Pair {...shared} />}
      {session.mode === 'thumb' && <Thumb {...shared} />}
      {session.mode === 'demonstrate' && <Write {...shared} />}
      {session.mode === 'rank' &&
        (step < responses.length ? (
          <Rate {...shared} session={session} place={step} key={step} />
        ) : (
          <Rank {...shared} onBack={session.rates ? () => change({ step: responses.length - 1 }) : undefined} />
        ))}
      <div class="below">
        <button type="button" class="quiet" onClick={() => setSkipping(true)}>
          Skip… <Key>s</Key>
        </button>
        <p role="status">{failure ?? (problem && `Your draft is not saved: ${problem}`)}</p>
      </div>
      {isSkipping && (
        <Skip
          onClose={() => setSkipping(false)}
          onSkip={(reason) => {
            setSkipping(false);
            void close('skip', { reason });
          }}
        />
      )}
    </div>
  );
}

function answerOf({ mode, rates }: Session, draft: Draft, seconds: number): Answer {
  const { ratings, ranks, thumbs, text, edited, confidence } = draft as Answer;
  const common = { seconds: Math.round(10 * seconds) / 10 };
  if (mode === 'thumb') return { thumbs, ...common };
  if (mode === 'demonstrate') return { text, edited, ...common };
  return { ...(mode === 'rank' && rates ? { ratings } : {}), ranks, confidence, ...common };
}

function Skip({ onSkip, onClose }: { onSkip: (reason: string) => void; onClose: () => void }) {
  const [reason, setReason] = useState(kReasons[0]!);
  const [other, setOther] = useState('');
  const chosen = reason === '' ? other.trim() : reason;
  return (
    <Dialog title="Why skip this one?" onClose={onClose}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          if (chosen !== '') onSkip(chosen);
        }}
      >
        <fieldset>
          <legend class="hidden">Reason</legend>
          {[...kReasons, ''].map((words) => (
            <label key={words} class="line">
              <input type="radio" name="reason" checked={reason === words} onChange={() => setReason(words)} />
              {words === '' ? 'Another reason' : words}
            </label>
          ))}
        </fieldset>
        {reason === '' && (
          <label>
            The reason
            <input
              type="text"
              maxLength={1000}
              value={other}
              onInput={(event) => setOther(event.currentTarget.value)}
            />
          </label>
        )}
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="main" disabled={chosen === ''}>
            Skip
          </button>
        </div>
      </form>
    </Dialog>
  );
}
