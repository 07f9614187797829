/* One image, many tries: order, follow, show. */

import { Problem, call, follow, get, insist, useKey } from "./api.js";
import { parametersForm } from "./parameters.js";
import { compare } from "./viewer.js";

const part = (id) => document.getElementById(id);
const WAIT_SECONDS = 5;

let image = null;
let imageUrl = "";
let defenses = [];
let catalogue = null;
let parameters = () => "";
let running = null;
let unanswered = null;
let kept = [];

function tell(state) {
  if (part("state").textContent !== state) part("state").textContent = state;  // what is set anew is read out anew
}

function complain(error) {
  part("problem").textContent = error ? error.message : "";
  part("problem").hidden = !error;
  if (error?.status === 401) part("key-row").hidden = false;
  if (error) tell("");
}

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...properties });
}

/* What can be ordered, asked for once and, where that failed, again: without it no metrics can be ticked. */
function haveCatalogue() {
  catalogue ??= loadCatalogue().catch((error) => {
    catalogue = null;
    throw error;
  });
  return catalogue;
}

async function loadCatalogue() {
  let metrics;
  [defenses, metrics] = await Promise.all([get("/defenses"), get("/iqa-metrics")]);
  part("defense").length = 1;
  for (const one of defenses) {
    const option = new Option(one.name, one.name);
    if (!one.availability.available) option.text += " (default weights missing)";  // others may be
    part("defense").add(option);
  }
  const usable = metrics.filter((one) => one.availability.available);
  part("metrics").replaceChildren(...usable.flatMap((one) => {
    const box = element("input", "", { type: "checkbox", value: one.name, id: `metric-${one.name}`, name: "metric" });
    box.checked = one.default;
    const label = element("label", ` ${one.name}`, { htmlFor: box.id, title: one.summary });
    label.prepend(box);
    return [label, document.createElement("br")];
  }));
}

function chooseDefense() {
  const chosen = defenses.find((one) => one.name === part("defense").value);
  const { reason, cure } = chosen?.availability ?? {};
  const why = reason ? ` Not usable with its default parameters: ${reason}. ${cure}` : "";
  part("summary").textContent = (chosen?.summary ?? "") + why;
  parameters = chosen ? parametersForm(part("parameters"), chosen.parameters) : () => "";
  part("parameters-box").hidden = !chosen || Object.keys(chosen.parameters.properties).length < 2;
  if (part("parameters").querySelector("textarea")) part("parameters-box").open = true;
}

function chooseImage(file) {
  if (!file) return;
  image = file;
  URL.revokeObjectURL(imageUrl);
  imageUrl = URL.createObjectURL(file);
  part("chosen").src = imageUrl;
  part("chosen").alt = `The chosen image, ${file.name}`;
  part("chosen").hidden = false;
  part("asked").textContent = file.name;
  part("image").required = false;
  part("tried").replaceChildren();
  part("results").hidden = true;
  for (const url of kept) URL.revokeObjectURL(url);
  kept = [];
  if (!isBusy()) complain(null);
  if (!isBusy()) tell("");
}

/* Choose an image that was not chosen by the control, which would go on showing another and not take that anew. */
function receiveImage(file) {
  if (!file) return;
  const data = new DataTransfer();
  data.items.add(file);
  part("image").files = data.files;
  chooseImage(file);
}

function order() {
  const fields = new Map();
  const name = part("defense").value;
  if (name) fields.set("defense", name + parameters());
  const chosen = [...document.querySelectorAll("[name=metric]:checked")].map((box) => box.value);
  fields.set("metrics", chosen.join(","));
  if (part("seed").value) fields.set("seed", part("seed").value);
  return fields;
}

function command(fields, name) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const file = `@"${name.replace(/["\\]/g, "\\$&")}"`;  // curl ends it at a comma or semicolon otherwise
  const given = [["image", file], ...fields].map(([field, value]) => `-F ${quoted(`${field}=${value}`)}`);
  const key = part("key").value ? ' -H "Authorization: Bearer $PURIFIQA_API_KEY"' : "";
  return `curl -s ${given.join(" ")} -H 'Prefer: wait=30'${key} ${location.origin}/purify`;
}

/* The same for what is sent again because no answer came: it may have been accepted, and is not to be done twice. */
function keyOf(sent, fields) {
  const text = JSON.stringify([...fields]);
  if (unanswered?.sent !== sent || unanswered.text !== text) {
    unanswered = { sent, text, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
  }
  return unanswered.key;
}

const isBusy = () => part("send").ariaDisabled === "true";

/* Not `disabled`, which would take the focus away from whoever pressed it by keyboard. */
function setBusy(busy) {
  part("send").ariaDisabled = String(busy);
}

async function purify(event) {
  event.preventDefault();
  if (isBusy()) return;
  complain(null);
  const sent = image;  // another may be chosen meanwhile
  if (!sent) return complain(new Error("Choose an image first."));
  setBusy(true);
  tell("Sending.");
  try {
    await haveCatalogue();
    const fields = order();
    const form = new FormData();
    form.append("image", sent, sent.name);
    for (const [name, value] of fields) form.append(name, value);
    const headers = { Prefer: `wait=${WAIT_SECONDS}`, "Idempotency-Key": keyOf(sent, fields) };
    const accepted = await (await call("POST", "/purify", { body: form, headers })).json();
    unanswered = null;
    const job = await follow(accepted, showProgress);
    if (job.status !== "finished") throw new Problem(0, job.error ?? { detail: `The job was ${job.status}.` });
    await keep(job, fields, sent);
    complain(null);  // as of a cancel that came too late
    tell("Done.");
  } catch (error) {
    complain(error);
  } finally {
    showProgress(null);
    setBusy(false);
  }
}

function showProgress(job, trouble) {
  running = job;
  if (!job && document.activeElement === part("cancel")) part("send").focus();
  part("cancel").hidden = part("progress").hidden = !job;
  if (!job) return;
  part("progress").value = job.progress;
  if (trouble) tell(askingAgain(trouble));
  else tell(job.status === "queued" ? `Waiting${job.position ? `, ${job.position} ahead` : ""}.` : "Purifying.");
}

function askingAgain(trouble) {
  return `${trouble.message.split("\n")[0]} Retrying.`;
}

async function cancel() {
  if (running) await call("POST", `${running.links.self}/cancel`).catch(complain);
}

async function keep(job, fields, sent) {
  const blob = await insist(job.result.image_url, "blob", (trouble) => tell(askingAgain(trouble)));
  const [url, beforeUrl] = [blob, sent].map((one) => URL.createObjectURL(one));
  kept.push(url, beforeUrl);
  const made = { job, url, beforeUrl, name: sent.name, text: command(fields, sent.name) };
  const label = fields.get("defense") ?? `${job.defense.name}, the default`;
  const shifts = job.result.scores.map((one) => `${one.metric} ${rounded(one.original)} → ${rounded(one.defended)}`);
  const whose = sent === image ? [] : [sent.name];  // the tries below are of another
  const entry = element("li", [...whose, label, ...shifts].join("; "));
  const view = element("button", "show", { type: "button", ariaLabel: `Show the result of ${label}` });
  view.addEventListener("click", () => show(made, entry).catch(complain));
  entry.append(" ", view);
  part("tried").prepend(entry);
  await show(made, entry);
}

function rounded(value) {
  return value === null ? "none" : Number(value.toPrecision(4)).toString();
}

async function show(made, entry) {
  for (const one of part("tried").children) one.removeAttribute("aria-current");
  entry.setAttribute("aria-current", "true");
  part("results").hidden = false;
  part("scores").replaceChildren(...made.job.result.scores.map((one) => {
    const row = document.createElement("tr");
    row.append(
      element("th", one.version ? `${one.metric} (version ${one.version})` : one.metric, { scope: "row" }),
      ...[one.original, one.defended, one.shift].map((value) => element("td", rounded(value), { className: "number" })),
      element("td", one.higher_is_better ? "higher" : "lower"),
      element("td", one.human_trained ? "yes" : "no"),
    );
    return row;
  }));
  part("job").textContent = JSON.stringify(made.job, null, 2);
  part("command").textContent = made.text;
  const { name } = made.job.defense;
  Object.assign(part("save"), { href: made.url, download: `${made.name.replace(/\.[^.]*$/, "")}-${name}.png` });
  await compare(made.beforeUrl, made.url);
}

async function start() {
  complain(null);
  try {
    await haveCatalogue();
  } catch (error) {
    complain(error);
  }
}

part("order").addEventListener("submit", purify);
part("order").addEventListener("invalid", ({ target }) => {
  const box = target.closest("details");
  if (box) box.open = true;  // else the browser could not show what is wrong, and nothing would happen
}, true);
part("cancel").addEventListener("click", cancel);
part("defense").addEventListener("change", chooseDefense);
part("image").addEventListener("change", (event) => chooseImage(event.target.files[0]));
part("key").addEventListener("change", (event) => {
  useKey(event.target.value);
  if (!defenses.length) start();
});
document.addEventListener("paste", (event) => {
  const { files, types } = event.clipboardData;
  const isText = types.includes("text/plain") && event.target.closest?.("input, textarea");
  if (!isText) receiveImage(files[0]);  // a copied cell or paragraph is text and a picture of it
});
for (const [name, isOver] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(name, (event) => {  // beside the frame, the browser would leave the page for the file
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    part("drop").classList.toggle("over", isOver);
    if (name === "drop") receiveImage(event.dataTransfer.files[0]);
  });
}
start();
