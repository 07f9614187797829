/* Calls of the service. What it refuses becomes a Problem, with the words that it said. */

const PATIENCE_SECONDS = 120;
const PASSES = [0, 429, 502, 503, 504];

export class Problem extends Error {
  constructor(status, document, seconds = 0) {
    const fields = (document.errors ?? []).map((one) => `${one.field}: ${one.detail}`);
    const said = [document.detail ?? document.title ?? `The service answered ${status}.`, ...fields];
    if (seconds) said.push(`Try again in ${seconds} s.`);
    super([...new Set(said)].join("\n"));
    this.status = status;
    this.seconds = seconds;
  }
}

let key = "";

export function useKey(text) {
  key = text.trim();
}

export async function call(method, path, { body, headers = {}, signal } = {}) {
  if (/[^!-~]/.test(key)) throw new Problem(401, { detail: "An API key has only visible ASCII characters; copy it again." });
  const given = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: given, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The service does not answer." });
  }
  if (answer.ok) return answer;
  const seconds = Number(answer.headers.get("Retry-After")) || 0;
  throw new Problem(answer.status, await answer.json().catch(() => ({})), seconds);
}

export async function get(path) {
  return (await call("GET", path)).json();
}

const pass = (seconds) => new Promise((resume) => setTimeout(resume, 1000 * seconds));

/* What is at `path`, read as `kind`; asked for again while the service restarts or is too busy; `tell` is told why. */
export async function insist(path, kind, tell) {
  const end = Date.now() + 1000 * PATIENCE_SECONDS;
  for (let pause = 1; ; pause = Math.min(15, 2 * pause)) {
    try {
      return await (await call("GET", path))[kind]();
    } catch (error) {
      const { status = 0, seconds = 0 } = error;
      const wait = Math.max(pause, seconds);
      if (!PASSES.includes(status) || Date.now() + 1000 * wait > end) throw error;
      tell(error);
      await pass(wait);
    }
  }
}

/* The job once it has ended; `tell` is given each state before, and why it could not be asked for. */
export async function follow(job, tell) {
  let pause = 0.3;
  while (job.status === "queued" || job.status === "running") {
    tell(job);
    await pass(pause);
    pause = Math.min(2, pause * 1.3);
    const last = job;
    job = await insist(job.links.self, "json", (error) => tell(last, error));
  }
  return job;
}
