(function () {
  "use strict";
  var main = document.querySelector("main");
  var data = main.dataset;
  var steps = ["asked", "starting", "ready"];
  var usual = parseFloat(data.usual) || 0;
  var begun = Date.now() - (parseFloat(data.since) || 0) * 1000;
  var over = false;
  function find(selector) { return main.querySelector(selector); }
  function rise(part) { main.style.setProperty("--up", part.toFixed(3)); }
  function step(name) {
    var at = steps.indexOf(name);
    steps.forEach(function (one, i) {
      find("[data-step=" + one + "]").className = i < at || name === "ready" ? "done" : i === at ? "at" : "";
    });
  }
  function tick() {
    if (over) { return; }
    var seconds = Math.round((Date.now() - begun) / 1000);
    rise(0.44 + 0.5 * (1 - Math.exp(-1.6 * seconds / (usual || 15))));
    if (usual) {
      find(".usual").textContent = seconds <= usual
        ? "Usually ready within " + Math.ceil(usual) + " s" + (seconds > 1 ? " · " + seconds + " s so far" : "")
        : "This takes longer than usual · " + seconds + " s so far";
    } else if (seconds > 2) {
      find(".usual").textContent = seconds + " s so far";
    }
  }
  function go() {
    over = true;
    rise(1);
    step("ready");
    find(".now").textContent = "Ready. Opening…";
    var here = location.pathname + location.search;
    setTimeout(function () {
      if (data.to === here) { location.reload(); } else { location.replace(data.to + location.hash); }
    }, 250);
  }
  function fail(text) {
    over = true;
    main.classList.add("stopped");
    find(".why").textContent = text;
    find(".waking").hidden = true;
    find(".failed").hidden = false;
    find(".failed h1").focus();
    document.title = find(".failed h1").textContent;
  }
  if (!window.EventSource) { location.replace(data.wait); return; }
  var events = new EventSource("/.well-known/paastis/events");
  events.addEventListener("state", function (event) {
    var state = JSON.parse(event.data);
    step(state.step);
    if (find(".now").textContent !== state.text) { find(".now").textContent = state.text; }
  });
  events.addEventListener("ready", function () { events.close(); go(); });
  events.addEventListener("failed", function (event) { events.close(); fail(JSON.parse(event.data).text); });
  events.onerror = function () {
    if (events.readyState === 2 && !over) { setTimeout(function () { location.replace(data.wait); }, 2000); }
  };
  tick();
  setInterval(tick, 1000);
})();
