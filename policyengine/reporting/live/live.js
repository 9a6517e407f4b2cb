// Keeps the live part up to date. What is shown was made harmless by the server; without this script the page reads as well.
"use strict";
(() => {
  const SILENCE_MS = 15000, AGAIN_MS = 5000;
  const part = (id) => document.getElementById(id);
  const live = part("live"), title = document.title;
  let heard = Date.now();

  const say = (state, why) => {
    const line = part("state");
    if (line.textContent !== state) {
      line.textContent = state;
      line.className = state;
      document.title = state === "CURRENT" ? title : `${state} ${title}`;
    }
    if (part("why").textContent !== why) part("why").textContent = why;
  };

  const lost = () => say("DISCONNECTED", "nothing is heard from the server: what is below is how things were then");

  const told = (event) => {
    heard = Date.now();
    const now = JSON.parse(event.data);
    if (now.page !== live.dataset.page) {
      location.reload();
      return;
    }
    say(now.state, now.why);
    part("age").textContent = now.age;
    if (now.html !== undefined) part("told").innerHTML = now.html;
  };

  const listen = () => {
    const source = new EventSource("events");
    source.addEventListener("now", told);
    source.addEventListener("beat", told);
    source.onerror = () => {
      lost();
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
    };
  };

  setInterval(() => { if (Date.now() - heard > SILENCE_MS) lost(); }, 1000);
  listen();
})();
