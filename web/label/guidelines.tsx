import DOMPurify from 'dompurify';
import { marked } from 'marked';
import { useMemo, useState } from 'preact/hooks';

const kWide = '(min-width: 70rem)';

/** The owner's Markdown, without anything that runs or loads. */
export function Guidelines({ markdown }: { markdown: string }) {
  const html = useMemo(
    () =>
      DOMPurify.sanitize(marked.parse(markdown, { async: false }), {
        USE_PROFILES: { html: true },
        FORBID_TAGS: ['style', 'form', 'input', 'button', 'textarea', 'select', 'video', 'audio'],
        FORBID_ATTR: ['style', 'id', 'name', 'srcset'],
      }),
    [markdown],
  );
  const [isOpen, setOpen] = useState(matchMedia(kWide).matches);
  return (
    <aside aria-label="Guidelines">
      <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>Guidelines</summary>
        <div class="guidelines" dangerouslySetInnerHTML={{ __html: html }} />
      </details>
    </aside>
  );
}
