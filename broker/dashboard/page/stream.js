// Server-sent events by fetch: EventSource can send no Authorization header, and a token is never in a URL.

const SILENCE_MS = 8000; // a beat comes every second: after so long without one the connection is dead
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10000;

/** An answer that is not a success: `status`, and the house's `code` and message. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether this token will never do here. */
  get forGood() {
    return this.status === 401 || this.status === 403 || this.code === "operator_token_missing";
  }
}

/** Fetch `path` with the token. Throws `Refused` for anything but a success. */
export async function ask(path, token, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body.code ?? "", body.error ?? `the broker answered ${answer.status}`);
}

/**
 * Listen until `signal` is aborted or the token is refused for good (then throws `Refused`).
 * `on(event, data)` is told each event, `lost(reason)` whenever the connection ends: it comes back by itself.
 */
export async function listen(path, token, signal, on, lost) {
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      await once(path, token, signal, (event, data) => {
        pause = FIRST_PAUSE_MS;
        on(event, data);
      });
      lost("the broker ended the connection");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.forGood) throw error;
      lost(error instanceof Refused ? error.message : "the broker does not answer");
    }
    await new Promise((done) => setTimeout(done, pause * (0.8 + Math.random() * 0.4)));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function once(path, token, signal, on) {
  const connection = new AbortController();
  const stop = () => connection.abort();
  signal.addEventListener("abort", stop);
  let silence = setTimeout(stop, SILENCE_MS);
  try {
    const answer = await ask(path, token, { signal: connection.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) told(block, on);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
  }
}

function told(block, on) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length) on(event, JSON.parse(data.join("\n")));
}
