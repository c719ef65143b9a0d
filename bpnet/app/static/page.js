// A moment's button makes the player jump there and play to the moment's end; a line on all
// timelines follows the player. Everything listens at the document: the page is redrawn at will.
(() => {
  let end = null; // where the moment that is played ends, in seconds
  let jumping = false; // the seek under way is ours, not the viewer's
  let button = null;

  const player = () => document.querySelector(".bp-player video");

  const mark = (now) => {
    if (button) button.removeAttribute("aria-current");
    button = now;
    if (button) button.setAttribute("aria-current", "true");
  };

  document.addEventListener("click", (event) => {
    const clicked = event.target.closest("button.bp-moment");
    const video = player();
    if (!clicked || !video) return;
    const start = Number(clicked.dataset.start);
    const jump = () => {
      jumping = true;
      end = Number(clicked.dataset.end);
      video.currentTime = start;
      video.play().catch(() => {}); // a browser may refuse to play; it still stands at the start
    };
    if (video.readyState > 0) jump();
    else video.addEventListener("loadedmetadata", jump, { once: true });
    mark(clicked);
    const box = video.getBoundingClientRect();
    if (box.top < 0 || box.bottom > window.innerHeight) {
      const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      video.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    }
  });

  const follow = (video) => {
    if (end !== null && video.currentTime >= end) {
      end = null;
      video.pause();
    }
    if (video.duration > 0) {
      const now = `${(100 * video.currentTime) / video.duration}%`;
      document.body.style.setProperty("--bp-now", now);
    }
    if (!video.paused) requestAnimationFrame(() => follow(video));
  };

  const hears = (name, act) =>
    document.addEventListener(name, (event) => event.target === player() && act(event.target), true);

  hears("play", follow);
  hears("timeupdate", (video) => video.paused && follow(video));
  hears("seeking", () => {
    if (!jumping) {
      end = null;
      mark(null);
    }
  });
  hears("seeked", (video) => {
    jumping = false;
    if (video.paused) follow(video);
  });
  hears("loadstart", () => {
    end = null;
    mark(null);
    document.body.style.setProperty("--bp-now", "0%");
  });

  // The mark of the fitted score stands below its place on the slider, whose thumb is 16 px wide.
  const placeMark = () => {
    const mark = document.querySelector(".bp-mark");
    const range = document.querySelector("#bp-score input[type=range]");
    if (!mark || !range) return;
    const [outer, inner] = [mark.getBoundingClientRect(), range.getBoundingClientRect()];
    const left = inner.left - outer.left + 8 + (inner.width - 16) * Number(mark.dataset.score);
    mark.style.setProperty("--bp-at", `${left}px`);
  };
  new ResizeObserver(placeMark).observe(document.documentElement);
  new MutationObserver(placeMark).observe(document.documentElement, { childList: true, subtree: true });
})();
