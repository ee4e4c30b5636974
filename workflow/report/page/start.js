// Once the page is there: its pages, then the maps.

const maps = [...document.querySelectorAll("script.map-data")].map((node) => new MapData(JSON.parse(node.textContent))).filter((data) => !data.reason && data.places);
startPage();
if (maps.length) {
  const explorer = new Explorer(document.getElementById("explorer"), maps);
  const small = document.getElementById("overview-map");
  if (small) {
    const data = maps[0], plot = new PointPlot(small, {
      onPick: (row) => (location.hash = row < 0 ? "#map" : `#map&map=0&unit=${encodeURIComponent(data.names[row])}`),
      onHover: (row) => {
        small.title = row < 0 ? "" : data.names[row];
        small.classList.toggle("over", row >= 0);
      },
      padding: 0.04,
    });
    plot.setPoints(data.places);
    const column = data.column("locations"), level = data.levels[0];
    const colouring = column ? colouringOf(column) : colouringOfLevel(level);
    plot.setLook({ ...applyColouring(colouring, data.places.count), labels: column ? [] : clusterLabels(level, data.places) });
    document.getElementById("overview-legend").replaceChildren(...legendOf(colouring, data.places.count, -1, (only) => {
      location.hash = "#map";
      explorer.showMap(0);
    }).slice(0, 10));
  }
}
document.documentElement.classList.add("ready");
