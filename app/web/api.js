/* Calls of the service. What it refuses becomes a Problem, with the words that it said. */

export class Problem extends Error {
  constructor(status, document) {
    const fields = (document.errors ?? []).map((one) => `${one.field}: ${one.detail}`);
    const said = [document.detail ?? document.title ?? `The service answered ${status}.`, ...fields];
    super([...new Set(said)].join("\n"));
    this.status = status;
  }
}

let key = "";

export function useKey(text) {
  key = text.trim();
}

export async function call(method, path, { body, headers = {}, signal } = {}) {
  const given = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: given, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The service does not answer." });
  }
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

export async function get(path) {
  return (await call("GET", path)).json();
}

/* The job once it has ended; `tell` is given each state before. */
export async function follow(job, tell) {
  let pause = 300;
  while (job.status === "queued" || job.status === "running") {
    tell(job);
    await new Promise((resume) => setTimeout(resume, pause));
    pause = Math.min(2000, pause * 1.3);
    job = await get(job.links.self);
  }
  return job;
}
