// Keeps a page up to date: hears that something has changed, and lets htmx ask for it again.
"use strict";

(() => {
  const pulse = document.getElementById("pulse");
  let source = null;

  function tell(isLive, words) {
    if (!pulse) return;
    pulse.classList.toggle("on", isLive);
    pulse.querySelector(".words").textContent = words;
  }

  function changed(topics) {
    for (const topic of topics) document.body.dispatchEvent(new CustomEvent(topic + "-changed"));
  }

  // Hidden pages hear nothing: a browser has few connections to one host.
  function listen() {
    if (!pulse || source || document.hidden) return;
    source = new EventSource("/events");
    let before = false;
    source.addEventListener("hello", () => {
      tell(true, "live");
      if (before) changed(["entries", "peers", "samples"]); // what was missed meanwhile
      before = true;
    });
    source.addEventListener("changed", (event) => changed(JSON.parse(event.data)));
    source.onerror = () => {
      tell(false, "not live");
      before = true;
      if (source.readyState === EventSource.CLOSED) {
        source = null; // refused: the node was started again, and knows this browser no more
        setTimeout(listen, 5000);
      }
    };
  }

  function rest() {
    if (source) source.close();
    source = null;
    tell(false, "paused");
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return rest();
    listen();
    changed(["entries", "peers", "samples"]);
  });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", listen);

  // Times in the reader's own zone; the exact one stays in the title.
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const when = new Date(time.dateTime);
      if (isNaN(when) || time.title) continue;
      time.title = time.dateTime;
      const clock = when.toLocaleTimeString([], { hourCycle: "h23" });
      const day = when.toLocaleDateString("sv");
      const isToday = day === new Date().toLocaleDateString("sv");
      time.textContent = time.classList.contains("clock") && isToday ? clock : day + " " + clock;
    }
  }

  document.addEventListener("htmx:afterSettle", () => localTimes(document));
  // Who is not logged in any more is shown how to.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) location.reload();
  });
  localTimes(document);
  listen();
})();
