// Draws every figure in the page's own colours, and again when they or the width change.
(() => {
  "use strict";
  const NARROW = 640;
  const LOOKS = 6;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function colouring(trace) {
    const look = trace.meta.look;
    if (look === "grid") {
      const light = [[0, "#ffffd9"], [0.25, "#c7e9b4"], [0.5, "#41b6c4"], [0.75, "#225ea8"], [1, "#081d58"]];
      const night = [[0, "#20262d"], [0.25, "#1d4a6b"], [0.5, "#2282a8"], [0.75, "#5cc3c0"], [1, "#f2f7c0"]];
      return { colorscale: dark.matches ? night : light };
    }
    if (look === "unseen") return { fillcolor: colour("unseen") };
    const shade = typeof look === "number" ? colour(`look-${look % LOOKS}`) : colour(look);
    const found = { line: { ...trace.line, color: shade } };
    if (trace.marker) found.marker = { ...trace.marker, color: shade };
    if (trace.error_y) found.error_y = { ...trace.error_y, color: shade, thickness: 1.2 };
    return found;
  }

  // Names and titles are broken to the width at hand: plotly would cut them off.
  function broken(text, letters) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const line = lines[lines.length - 1];
      if (line && line.length + word.length >= letters) lines.push(word);
      else lines[lines.length - 1] = line ? `${line} ${word}` : word;
    }
    return lines.join("<br>");
  }
  const lettersOf = (plot) => Math.max(20, Math.floor((plot.clientWidth - 90) / 6.5));
  const linesOf = (text) => text.split("<br>").length;

  function layoutOf(plot, figure) {
    const width = plot.clientWidth;
    const isNarrow = width < NARROW;
    const isGrid = figure.data[0].type === "heatmap";
    const letters = lettersOf(plot);
    const names = figure.data
      .filter((trace) => trace.showlegend !== false && !isGrid)
      .reduce((sum, trace) => sum + 0.5 + 0.75 * linesOf(broken(trace.name, letters)), 0);
    const axis = (given) => ({
      ...given,
      title: { text: broken((given.title || {}).text || "", letters), standoff: 8, font: { size: isNarrow ? 11 : 13 } },
      gridcolor: colour("grid"),
      linecolor: colour("line"),
      zeroline: false,
      tickfont: { size: isNarrow ? 10 : 12 },
    });
    const rows = isGrid ? figure.data[0].y.length : 0;
    const body = isGrid ? 120 + 34 * rows + (isNarrow ? 70 : 0) : 430;
    return {
      ...figure.layout,
      xaxis: axis(figure.layout.xaxis),
      yaxis: axis(figure.layout.yaxis),
      width,
      height: body + (isGrid ? 0 : 22 * names),
      margin: { l: isNarrow ? 44 : 60, r: 12, t: 12, b: 48 },
      paper_bgcolor: colour("back"),
      plot_bgcolor: colour("back"),
      font: { color: colour("text"), family: getComputedStyle(document.body).fontFamily, size: isNarrow ? 11 : 13 },
      hoverlabel: { bgcolor: colour("head"), bordercolor: colour("line"), font: { color: colour("text") }, namelength: -1 },
      // Below the axes, one name a line: nothing overlaps at any width.
      legend: { orientation: "v", x: 0, xanchor: "left", y: -60 / body * 1.2, yanchor: "top", bgcolor: "rgba(0,0,0,0)" },
    };
  }

  function draw(plot) {
    const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
    const data = figure.data.map((trace) => ({
      ...trace,
      ...(trace.name ? { name: broken(trace.name, lettersOf(plot)) } : {}),
      ...colouring(trace),
    }));
    return Plotly.react(plot, data, layoutOf(plot, figure), { displaylogo: false, showSendToCloud: false });
  }

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => plots.forEach(draw);
  let waiting;
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  dark.addEventListener("change", drawAll);
  drawAll();
})();
