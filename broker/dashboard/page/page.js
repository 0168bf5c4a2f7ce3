// The operator's page: asks for the token, listens to the broker's events, marks refunds as paid.

import { draw, forget } from "./plots.js";
import { element, mark, render, say } from "./render.js";
import { ask, listen } from "./stream.js";

const KEPT = "galaksio-operator-token";
const byId = (id) => document.getElementById(id);
let listening = null;

function showDoor(why) {
  byId("door").hidden = false;
  byId("page").hidden = byId("leave").hidden = true;
  say("why", why);
  say("link", "");
  byId("token").focus();
}

async function enter(token) {
  listening?.abort();
  listening = new AbortController();
  const { signal } = listening;
  try {
    await listen("/api/dashboard/events", token, signal, (event, data) => told(event, data, token), (reason) => {
      say("link", `● connecting again: ${reason}`);
    });
  } catch (error) {
    if (signal.aborted) return;
    leave(error.message);
  }
}

function told(event, data, token) {
  if (event === "trouble") {
    say("trouble", data.error);
  } else if (event === "job") {
    mark(data);
  } else if (event === "stats") {
    sessionStorage.setItem(KEPT, token); // it was right
    byId("token").value = "";
    byId("door").hidden = true;
    byId("page").hidden = byId("leave").hidden = false;
    say("link", "● live");
    render(data, (line) => refundForm(line, token));
    plots(data);
  }
}

function plots({ lastHour, slots }) {
  const last = (list) => list[list.length - 1] ?? "–";
  const numbers = lastHour.revenueUsd.map(Number);
  say("plot-jobs-title", `Jobs per minute: ${last(lastHour.jobs)} now`);
  say("plot-revenue-title", `Revenue per minute: $${last(lastHour.revenueUsd)}`);
  say("plot-time-title", "Paid calls: p50 and p95");
  say("plot-slots-title", `Sandbox slots: ${last(slots.free)} free now`);
  draw("jobs", [lastHour.at, lastHour.jobs]);
  draw("revenue", [lastHour.at, numbers]);
  draw("time", [lastHour.at, lastHour.p50Ms, lastHour.p95Ms]);
  draw("slots", [slots.at, slots.used, slots.free, slots.waiting]);
}

function refundForm(line, token) {
  const hash = element("input", "mono");
  hash.required = true;
  hash.pattern = "0x[0-9a-fA-F]{64}";
  hash.placeholder = "0x…";
  hash.autocomplete = "off";
  hash.setAttribute("aria-label", `Transaction that paid ${line.amountUsd} USD to ${line.payer}`);
  hash.title = "A transaction hash: 0x and 64 hexadecimal digits";
  const button = element("button", "", "Mark as paid");
  const form = element("form", "", [hash, button]);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await ask(`/api/dashboard/refunds/${encodeURIComponent(line.paymentId)}`, token, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ transaction: hash.value }),
      });
      const { amountUsd, warning } = await answer.json();
      say("refund-said", `$${amountUsd} to ${line.payer} is marked as paid${warning ? `, ${warning}` : ": the chain confirms it"}.`);
    } catch (error) {
      say("refund-said", `Not marked as paid: ${error.message}.`);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function leave(why) {
  listening?.abort();
  sessionStorage.removeItem(KEPT);
  showDoor(why);
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  say("why", "");
  enter(byId("token").value.trim());
});
byId("leave").addEventListener("click", () => leave(""));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);

const kept = sessionStorage.getItem(KEPT);
if (kept) {
  say("link", "● connecting");
  enter(kept);
} else {
  showDoor("");
  // Without a token the broker says why it lets nobody in, if it is so.
  ask("/api/dashboard/stats", null).catch((error) => {
    if (error.code === "operator_token_missing") showDoor(error.message);
  });
}
