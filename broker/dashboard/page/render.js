// Numbers into the page. All text goes in by textContent: what customers and providers write is never HTML.

const byId = (id) => document.getElementById(id);

/** A new element with `classes` and `content`: text, or a list of nodes. */
export function element(tag, classes, content = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  fill(made, content);
  return made;
}

function fill(place, content) {
  if (content instanceof Node || Array.isArray(content)) place.replaceChildren(...[content].flat());
  else if (place.textContent !== String(content)) place.textContent = String(content);
}

/** Set the text of the element `id`, touching it only when it changes: it may be announced. */
export function say(id, text) {
  fill(byId(id), text);
}

/**
 * Make the table body `id` show `rows`. Rows are kept by `key(row)`, so that focus and half-typed input stay.
 * `cells(row)` are `[text, classes]`; a function instead of text makes the cell's content once.
 */
function table(id, rows, key, cells) {
  const body = byId(id);
  const kept = new Map([...body.children].map((line) => [line.dataset.key, line]));
  const wanted = new Set(rows.map((row) => String(key(row))));
  for (const [name, line] of kept) if (!wanted.has(name)) line.remove();
  rows.forEach((row, place) => {
    const name = String(key(row));
    const line = kept.get(name) ?? element("tr");
    line.dataset.key = name;
    cells(row).forEach(([content, classes], column) => {
      const known = line.children[column];
      const cell = known ?? line.appendChild(element("td"));
      if (cell.className !== (classes ?? "")) cell.className = classes ?? "";
      if (typeof content !== "function") fill(cell, content ?? "–");
      else if (!known) fill(cell, content());
    });
    if (body.children[place] !== line) body.insertBefore(line, body.children[place] ?? null);
  });
}

const GOOD = new Set(["completed", "settled", "available", "closed"]);
const BAD = new Set(["failed", "unpaid", "rejected", "unknown", "unavailable", "open"]);
const mood = (word) => `plain ${GOOD.has(word) ? "good" : BAD.has(word) ? "bad" : ""}`;
const short = (text) => (text.length > 14 ? `${text.slice(0, 8)}…${text.slice(-4)}` : text);
const share = (part) => (part == null ? "–" : `${Math.round(part * 100)} %`);
const time = (ms) => (ms == null ? "–" : ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
const usd = (text) => `$${text}`;

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

function room(bytes) {
  if (bytes == null) return "–";
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(bytes || 1) / 3)));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** Atomic units as dollars, without floating point. */
function fromAtomic(atomic) {
  if (atomic == null) return "–";
  const digits = String(atomic).padStart(7, "0");
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, "");
}

/** Show all numbers. `refund(line)` makes the form that marks a refund as paid. */
export function render(stats, refund) {
  const age = (at) => span((Date.parse(stats.at) - Date.parse(at)) / 1000);
  say("host", `${stats.host.network}${stats.host.paymentsEnabled ? "" : ", payments are off"}`);
  tiles(stats);
  owed(stats.refunds, age, refund);
  unknown(stats.payments.unknown, age);
  jobs(stats.jobs, age);
  revenue(stats.revenue);
  table("states", Object.entries(stats.payments.states).sort(), ([state]) => state, ([state, count]) => [
    [state, mood(state)],
    [count, "number"],
  ]);
  providers(stats.providers);
  instances(stats.instances, age);
  executors(stats.executors);
  versions(stats);
}

function tiles(stats) {
  const { revenue, refunds, payments } = stats;
  const flying = ["reserved", "running", "ran", "settling"].reduce((sum, state) => sum + (payments.states[state] ?? 0), 0);
  const shown = [
    ["Revenue today", usd(revenue.today.amountUsd), `${revenue.today.count} payments`],
    ["Revenue, 7 days", usd(revenue.week.amountUsd), `${revenue.week.count} payments`],
    ["Revenue, all", usd(revenue.all.amountUsd), `${revenue.all.count} payments`],
    ["Refunds owed", usd(refunds.total.amountUsd), `${refunds.total.count} to be paid`],
    ["In flight", flying, "payments"],
    ["Unknown", payments.states.unknown ?? 0, "payments"],
    ["Up for", span(stats.host.uptimeS), `since ${new Date(stats.host.startedAt).toLocaleString()}`],
  ];
  const list = byId("tiles");
  shown.forEach(([name, value, more], place) => {
    const tile = list.children[place] ?? list.appendChild(element("div", "", [element("dt", "", name), element("dd")]));
    const [text, note] = tile.lastChild.childNodes.length
      ? tile.lastChild.childNodes
      : [document.createTextNode(""), element("small")];
    if (!note.parentNode) tile.lastChild.append(text, note);
    fill(text, value);
    fill(note, more);
  });
}

function owed(refunds, age, refund) {
  byId("owed-section").hidden = !refunds.total.count;
  const more = refunds.total.count > refunds.oldest.length ? `, the oldest ${refunds.oldest.length} are shown` : "";
  say("owed-sum", `${usd(refunds.total.amountUsd)} to ${refunds.total.count}${more}`);
  table("owed", refunds.oldest, (line) => line.paymentId, (line) => [
    [age(line.createdAt), "plain"],
    [line.payer, "mono"],
    [line.amountUsd, "number"],
    [`${line.operation ?? "?"} at ${line.provider ?? "?"} (${line.network})`, "words"],
    [line.reason, "words"],
    [() => refund(line)],
  ]);
}

function unknown(lines, age) {
  byId("unknown-section").hidden = !lines.length;
  table("unknown", lines, (line) => line.id, (line) => [
    [age(line.createdAt), "plain"],
    [line.payer, "mono"],
    [line.amountUsd, "number"],
    [line.attempts, "number"],
    [line.reason, "words"],
    [line.id, "mono"],
  ]);
}

function jobs(lines, age) {
  table("jobs", lines, (job) => job.id, (job) => [
    [age(job.createdAt), "plain"],
    [short(job.id), "mono plain"],
    [job.operation, "plain"],
    [job.provider],
    [job.status, mood(job.status)],
    [job.priceUsd, "number"],
    [job.paymentState, mood(job.paymentState)],
    [[job.label, job.error].filter(Boolean).join(": ") || "–", "words"],
  ]);
}

/** Mark the row of a job that is new or has changed; the mark goes by itself. */
export function mark(job) {
  const line = [...byId("jobs").children].find((row) => row.dataset.key === job.id);
  if (!line) return;
  line.classList.add("new");
  setTimeout(() => line.classList.remove("new"), 4000);
}

function revenue(found) {
  const all = found.lines.length > 1 ? [{ ...found, operation: "All", provider: "" }] : [];
  table("revenue", [...found.lines, ...all], (line) => `${line.operation} ${line.provider}`, (line) => [
    [line.operation, "plain"],
    [line.provider],
    [line.today.amountUsd, "number"],
    [line.week.amountUsd, "number"],
    [line.all.amountUsd, "number"],
  ]);
}

function providers(rows) {
  table("providers", rows, (row) => `${row.kind} ${row.name}`, (row) => [
    [row.kind, "plain"],
    [row.name, "plain"],
    [row.status, mood(row.status)],
    [row.circuit, mood(row.circuit)],
    [row.price_sample?.price_usd, "number"],
    [share(row.success_rate), "number"],
    [time(row.typical_ms), "number"],
    [[row.reason, row.last_error?.text].filter(Boolean).join("; ") || "–", "words"],
  ]);
}

function instances(lines, age) {
  table("instances", lines, (line) => line.id, (line) => [
    [short(line.id), "mono plain"],
    [line.machine || "–"],
    [`${age(line.seenAt)} ago`, "plain"],
    [line.accepting ? "accepted" : "refused", "plain"],
    [line.slots - line.slotsFree, "number"],
    [`${line.slotsFree} of ${line.slots}`, "number"],
    [line.waiting, "number"],
    [Object.entries(line.ready).sort().map(([language, count]) => `${language} ${count}`).join(", ") || "none", "words"],
  ]);
}

function executors(rows) {
  table("executors", rows, (row) => `${row.executor} ${row.kind} ${row.name}`, (row) => [
    [short(row.executor), "mono plain"],
    [row.kind, "plain"],
    [row.name, "plain"],
    [row.accepting || row.status !== "available" ? row.status : "full", mood(row.status)],
    [room(row.freeBytes), "number"],
    [fromAtomic(row.spendableAtomic), "number"],
    [share(row.successRate), "number"],
    [row.reason || row.isolation, "words"],
  ]);
}

function versions({ host, neighbours, warnings }) {
  const others = neighbours.map(({ name, version, reachable, reason }) =>
    reachable ? `${name} ${version ?? "?"}` : `${name}: ${reason}`,
  );
  say("versions", [`broker ${host.version}`, ...others, host.payTo ? `paid to ${host.payTo}` : ""].filter(Boolean).join(" · "));
  const silent = neighbours.filter(({ reachable }) => !reachable);
  say("trouble", [...warnings, ...silent.map(({ name, reason }) => `${name}: ${reason}; its rows are old.`)].join(" "));
}
