// The page around the explorer: elements, the pages that the address chooses, links that save figures.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// "#map" shows the page that holds the element "map"; "#map&map=1&protein=ABC" says more to the explorer.
function readAddress() {
  const [target, ...rest] = location.hash.slice(1).split("&");
  return { target: target || "overview", options: new URLSearchParams(rest.join("&")) };
}

function showPage() {
  const { target } = readAddress();
  const wanted = document.getElementById(target) || document.getElementById("overview");
  const page = wanted.closest(".page");
  for (const other of document.querySelectorAll(".page")) other.hidden = other !== page;
  for (const link of document.querySelectorAll("nav.sections a")) {
    if (link.getAttribute("href") === `#${page.id}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    } else link.removeAttribute("aria-current");
  }
  for (let inside = wanted; inside && inside !== page; inside = inside.parentElement) {
    if (inside.tagName === "DETAILS") inside.open = true;
  }
  if (wanted === page) window.scrollTo(0, 0);
  else wanted.scrollIntoView();
}

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function csvField(value) {
  let text = String(value ?? "");
  // As subcell/tables.py does it: a spreadsheet would run what begins so.
  if (/^'*[=+\-@\t\r\n＝＋－＠]/.test(text) && !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) { text = `'${text}`; }
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function startPage() {
  document.documentElement.classList.add("scripted");
  for (const link of document.querySelectorAll("a[data-figure]")) {
    link.href = document.getElementById(link.dataset.figure).src;
  }
  window.addEventListener("hashchange", showPage);
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copyText(document.getElementById(button.dataset.copy), button));
  }
  showPage();
}

// A page opened from disk has no clipboard but the one of its selection.
function copyText(node, button) {
  getSelection().selectAllChildren(node);
  const done = document.execCommand("copy");
  button.textContent = done ? "Copied" : "Selected: copy it with the keyboard";
}
