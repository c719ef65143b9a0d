// A bar makes the player jump to its moment and play to the moment's end; a line on the timelines
// of the video that is shown follows the player.
(() => {
  const video = document.querySelector(".player video");
  const said = document.querySelector(".player [role=status]");
  const broken = document.querySelector(".player .broken");
  const cards = [...document.querySelectorAll("article[data-video]")];
  const urls = new Map(); // of embedded videos, by their ids
  let card = null; // whose video is shown
  let bar = null; // whose moment was chosen last
  let end = null; // where the moment that is played ends, in seconds; null: no moment is
  let wanted = null; // what to do as soon as the video can be jumped in
  let jumping = false; // the seek under way is ours, not the viewer's

  const address = (name) => {
    if (!name.startsWith("#")) return name;
    if (!urls.has(name)) {
      const { textContent, dataset } = document.getElementById(name.slice(1));
      const bytes = Uint8Array.from(atob(textContent), (one) => one.charCodeAt(0));
      urls.set(name, URL.createObjectURL(new Blob([bytes], { type: dataset.type })));
    }
    return urls.get(name);
  };

  const mark = (chosen) => {
    if (bar) bar.removeAttribute("aria-current");
    bar = chosen;
    if (bar) bar.setAttribute("aria-current", "true");
    else end = null;
  };

  const tell = (problem) => {
    broken.textContent = problem;
    broken.hidden = !problem;
  };

  const show = (next) => {
    if (card && card.dataset.video === next.dataset.video) return;
    card = next;
    wanted = null;
    mark(null);
    tell("");
    const name = card.dataset.name;
    document.querySelector(".video-name").textContent = name;
    video.setAttribute("aria-label", `Video ${name}`);
    video.src = address(card.dataset.video);
    for (const one of cards) one.classList.toggle("shown", one.dataset.video === card.dataset.video);
  };

  const jump = (seconds, play) => {
    wanted = () => {
      wanted = null;
      if (!video.seekable.length || video.seekable.end(0) === 0) {
        tell("The server that sends this video does not allow jumps in it. Open the page as a file.");
        return;
      }
      jumping = true;
      video.currentTime = seconds;
      if (play) video.play().catch(() => {}); // it may be refused; the video stands at the start
    };
    if (video.readyState > 0) wanted();
  };

  const press = (chosen) => {
    show(chosen.closest("article"));
    if (chosen === bar && end !== null) {
      if (video.paused) video.play().catch(() => {});
      else video.pause();
      return;
    }
    mark(chosen);
    end = Number(chosen.dataset.end);
    jump(Number(chosen.dataset.start), true);
    const query = chosen.closest("article").querySelector("h2").textContent;
    said.textContent = `${chosen.querySelector(".times").textContent}: ${query}`;
  };

  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("button.row");
    if (chosen) press(chosen);
    const plot = event.target.closest("article[data-video] .seek");
    if (plot) {
      const box = plot.getBoundingClientRect();
      const next = plot.closest("article");
      show(next);
      mark(null);
      jump(((event.clientX - box.left) / box.width) * Number(next.dataset.duration), false);
    }
  });

  document.addEventListener("keydown", (event) => {
    const at = event.target.closest("button.row");
    if (!at || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const seconds = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const bars = [...document.querySelectorAll("button.row")].filter((one) => one.checkVisibility());
      const next = bars[bars.indexOf(at) + step];
      if (next) next.focus();
    } else if (seconds) {
      show(at.closest("article"));
      jump(Math.max(0, video.currentTime + seconds), false);
    } else return;
    event.preventDefault(); // the page must not scroll
  });

  const follow = () => {
    if (end !== null && video.currentTime >= end) {
      end = null;
      video.pause();
    }
    const part = card ? video.currentTime / Number(card.dataset.duration) : 0;
    document.body.style.setProperty("--now", `${100 * Math.min(part, 1)}%`);
  };
  const run = () => {
    follow();
    if (!video.paused) requestAnimationFrame(run);
  };

  video.addEventListener("play", run);
  video.addEventListener("timeupdate", follow); // also while the page is not drawn
  video.addEventListener("loadedmetadata", () => wanted && wanted());
  video.addEventListener("ended", () => (end = null));
  video.addEventListener("seeking", () => jumping || mark(null));
  video.addEventListener("seeked", () => {
    jumping = false;
    follow();
  });
  video.addEventListener("error", () => {
    const where = card.dataset.video.startsWith("#") ? "" : ` (${decodeURI(card.dataset.video)})`;
    tell(`${card.dataset.name} does not play: its file is not where it was when this page was made${where}, or this browser does not know its format.`);
  });

  if (cards.length) show(cards[0]);
})();
